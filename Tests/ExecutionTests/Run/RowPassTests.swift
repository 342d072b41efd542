// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import TestSupport
import Testing

@testable import Execution

struct RowPassTests {
  private static let (rows, columns) = (301, 64)
  private static let count = rows * columns

  /// Memory in which arrays lie at chosen places, over one another where their lives allow.
  private final class Memory {
    let base = UnsafeMutablePointer<Float>.allocate(capacity: 6 * RowPassTests.count)

    init() { for i in 0..<6 * RowPassTests.count { base[i] = Float((i * 7919) % 1013) / 1013 - 0.5 } }

    deinit { base.deallocate() }
  }

  /// s = a + b over a; y = norm of s at `place`, its statistics at `side`; z = GELU(y) over y.
  private func passes(in memory: Memory, place: Int, side: Int) -> [RowPass] {
    let (count, columns) = (Self.count, Self.columns)
    let (a, b, y, rstd, weight) = (
      memory.base, memory.base + count, memory.base + place, memory.base + side, memory.base + 5 * count
    )
    func pointer(_ p: UnsafeMutablePointer<Float>) -> UnsafePointer<Float> { UnsafePointer(p) }
    return [
      RowPass(count: count, row: 1, reads: [pointer(a), pointer(b)], writes: a) {
        Elementwise.add(a + $0.lowerBound, b + $0.lowerBound, into: a + $0.lowerBound, count: $0.count)
      },
      RowPass(
        count: count, row: columns, reads: [pointer(a)], writes: y,
        sides: [UnsafeBufferPointer(start: weight, count: columns), UnsafeBufferPointer(start: rstd, count: Self.rows)]
      ) {
        RMSNorm.forward(
          a + $0.lowerBound, weight: weight, epsilon: 1e-5, into: y + $0.lowerBound, rstd: rstd + $0.lowerBound / columns, rows: $0.count / columns,
          columns: columns)
      },
      RowPass(count: count, row: 1, reads: [pointer(y)], writes: y) {
        Activation.geluTanh.forward(y + $0.lowerBound, into: y + $0.lowerBound, count: $0.count)
      },
    ]
  }

  /// The result may lie where an operand of an earlier pass lay, in step with it or not, and so may a norm's statistics.
  @Test(
    "differential: passes in blocks of rows give the bits of one pass after the other, wherever their arrays lie",
    arguments: [count, 2 * count, count + columns, 2 * count - 3 * columns], [4 * count, count + 5, 2 * count - 200])
  func fusion(place: Int, side: Int) {
    let (fused, plain) = (Memory(), Memory())
    RowPass.carryOut(passes(in: fused, place: place, side: side))
    for pass in passes(in: plain, place: place, side: side) { pass.body(0..<pass.count) }
    for i in 0..<6 * Self.count { if fused.base[i] != plain.base[i] { return #expect(Bool(false), "element \(i)") } }
  }
}

extension MPIRuns {
  struct BroadcastSumTests {
    /// The outputs of a model with these operators in this order: `scaled` is 2 · `wte`, and `sum` adds `wpe` to it for every sample.
    private func outputs(_ order: [String], in folder: TemporaryFolder) throws -> Data {
      let (model, plan, outputs) = (folder.file("model.json"), folder.file("plan.json"), folder.file("outputs.safetensors"))
      let operators = [
        "wpe":
          #"{"name": "wpe", "op": "position_embedding", "axes": ["seq", "hidden"], "weights": [{"name": "wpe.weight", "axes": ["positions", "hidden"]}]}"#,
        "wte": #"{"name": "wte", "op": "embedding", "in": ["input_ids"], "weights": [{"name": "wte.weight", "axes": ["vocab", "hidden"]}]}"#,
        "scaled": #"{"name": "scaled", "op": "scale", "factor": 2, "in": ["wte"]}"#,
        "sum": #"{"name": "sum", "op": "add", "in": ["scaled", "wpe"]}"#,
      ]
      let text = """
        {"format": "tpplan/model/1", "name": "sum", "workload": {"batch": 2, "sequence": 4},
         "axes": [{"name": "batch", "role": "batch"}, {"name": "seq", "role": "sequence"}, {"name": "vocab", "extent": 8, "role": "vocabulary"},
           {"name": "hidden", "extent": 16, "role": "feature"}, {"name": "positions", "extent": 4, "role": "whole"}],
         "inputs": [{"name": "input_ids", "axes": ["batch", "seq"]}],
         "segments": [{"name": "all", "operators": [\(order.compactMap { operators[$0] }.joined(separator: ", "))]}],
         "outputs": [{"name": "last_hidden_state", "tensor": "sum"}]}
        """
      try Data(text.utf8).write(to: URL(filePath: model))
      let priced = try CommandLineRun(["estimate", model, "hardware/local.json", "--mode", "forward", "--tp", "1", "--batch", "2", "-o", plan])
      try #require(priced.status == 0, "\(priced.output)")
      let ran = try CommandLineRun(["run", plan, "--outputs", outputs])
      try #require(ran.status == 0, "\(ran.output)")
      return try Data(contentsOf: URL(filePath: outputs))
    }

    @Test("a sum that is broadcast, which is no pass over rows, comes after the passes before it")
    func broadcastSum() throws {
      let folder = try TemporaryFolder()
      // In the first order the scaling waits for the sum, which is no such pass; in the second an operator comes between.
      let waiting = try outputs(["wpe", "wte", "scaled", "sum"], in: folder)
      #expect(try waiting == outputs(["wte", "scaled", "wpe", "sum"], in: folder))
    }
  }
}
