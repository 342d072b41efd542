// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Plans
import Testing

@testable import Execution

struct HostMemoryTests {
  private let folder = FileManager.default.temporaryDirectory.appending(path: "memory-\(UUID().uuidString)")

  private func write(_ text: String, _ path: String) throws {
    let file = folder.appending(path: path)
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(text.utf8).write(to: file)
  }

  private func available() -> Int? {
    HostMemory.available(
      meminfo: folder.appending(path: "meminfo").path, cgroup: folder.appending(path: "cgroup").path, groups: folder.appending(path: "groups").path)
  }

  @Test("oracle: the least of what the system and each control group leave")
  func least() throws {
    defer { try? FileManager.default.removeItem(at: folder) }
    #expect(available() == nil)
    try write("MemTotal:  9000 kB\nMemAvailable:   8000 kB\n", "meminfo")
    #expect(available() == 8000 * 1024)
    // Version 2: the group itself has no limit, the one around it has; cached files can be given up.
    try write("0::/a/b\n", "cgroup")
    try write("max\n", "groups/a/b/memory.max")
    try write("100\n", "groups/a/b/memory.current")
    try write("5000000\n", "groups/a/memory.max")
    try write("2000000\n", "groups/a/memory.current")
    try write("anon 1500000\ninactive_file 400000\n", "groups/a/memory.stat")
    #expect(available() == 3_400_000)
    // Version 1; inside a container the group is what is mounted.
    try write("4:cpu,memory:/x/y\n0::/\n", "cgroup")
    try write("1000000\n", "groups/memory/memory.limit_in_bytes")
    try write("250000\n", "groups/memory/memory.usage_in_bytes")
    #expect(available() == 750_000)
  }
}

struct RunMemoryTests {
  @Test("golden: a run that this machine's memory cannot hold is refused with both numbers")
  func refused() throws {
    let plan = try PlanFile.read(URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../plans/mlp-dgx-a100-4.json").path)
    let run = RunMemory(
      decision: plan.decision, hyperparameters: Hyperparameters(optimizer: .adamw), collectsOutputs: false,
      verification: plan.decision.onOneRank())
    let (ranks, verification) = run.bytes(ofRanks: 0..<4)
    #expect(run.bytes(ofRanks: 2..<4) == (ranks / 2, 0))
    try run.check(ranks: 0..<4, memory: HostMemory(availableBytes: ranks + verification))
    try run.check(ranks: 0..<4, memory: HostMemory(availableBytes: nil))
    let error = #expect(throws: ExecutionError.self) {
      try run.check(ranks: 0..<4, memory: HostMemory(availableBytes: ranks + verification - 1))
    }
    #expect(
      error
        == .notEnoughMemory(
          ranks: 4, bytes: ranks, verificationBytes: verification, available: ranks + verification - 1, dtype: plan.decision.job.precision.rawValue))
    let text = ExecutionError.notEnoughMemory(ranks: 1, bytes: 2 << 30, verificationBytes: 3 << 30, available: 4 << 30, dtype: "bf16").description
    #expect(
      text.hasPrefix(
        "the plan's 1 rank on this machine needs 2.00 GiB for tensors (the plan is for bf16; ranks compute in fp32), and 3.00 GiB more for comparing"
          + " with one rank; 4.00 GiB of its memory is available; leave out --verify, "))
  }
}

extension MPIRuns {
  struct MemoryPlanTests {
    @Test(
      "differential: what a program takes on paper is what its run takes, to a hundredth", arguments: ["gpt2", "llama", "bert", "vit", "mixtral"],
      [(ranks: 1, seed: 2), (ranks: 2, seed: 5), (ranks: 3, seed: 9)])
    func planned(model: String, run: (ranks: Int, seed: Int)) throws {
      let probe = try ProbeRun(ranks: run.ranks, ["memory", model, "\(run.seed)"])
      for line in try probe.ranks.flatMap({ $0 }) {
        let numbers = line.split(separator: " ").compactMap { Double($0) }
        try #require(numbers.count == 4)
        // On paper a message has left when the next one is sent; a busy receiver may leave several under way.
        #expect(numbers[1] > 0.99 * numbers[0] && numbers[1] < 1.01 * numbers[0] + numbers[2], "\(line)")
        // Scratch of a row or two is not planned. What waits for a receiver may have the place that was planned for others.
        #expect(numbers[2] > 0 || numbers[3] <= 0.01 * numbers[0], "\(line)")
      }
      #expect(probe.diagnostics == [])
    }

    @Test(
      "measured: each ZeRO stage takes less memory than the one before, and so do recomputation and updates in the backward pass; on paper as well")
    func lean() throws {
      let probe = try ProbeRun(ranks: 2, ["lean-memory"])
      for rank in try probe.ranks {
        let runs = rank.map { $0.split(separator: " ").compactMap { Double($0) } }
        try #require(runs.count == 11 && runs.allSatisfy { $0.count == 4 })
        for run in runs { #expect(abs(run[0] / run[1] - 1) < 0.01 && run[3] <= 0.01 * run[0], "\(rank)") }
        for family in [runs[..<4], runs[4..<7], runs[7..<9], runs[9...]] {
          for (more, less) in zip(family, family.dropFirst()) { #expect(less[0] < more[0] && less[1] < more[1], "\(rank)") }
        }
        // ZeRO 1 halves the two moments, ZeRO 3 weights, gradients and moments; activations and gathered weights stay.
        #expect(runs[3][1] < 0.75 * runs[0][1], "\(rank)")
        #expect(runs[6][1] < 0.5 * runs[4][1], "\(rank)")
      }
      #expect(probe.diagnostics == [])
    }

    @Test("a loss that is no number ends the run and names the step")
    func diverging() throws {
      let probe = try ProbeRun(ranks: 2, ["diverge"])
      guard case .rankDied(_, _, let message) = probe.outcome else { return #expect(probe.outcome == .interrupted) }
      #expect(message.contains(": the loss of step 1 is nan, so the run ended there; a smaller learning rate (--lr) may keep it finite"))
    }
  }
}
