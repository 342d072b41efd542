// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

@testable import Execution

struct MPIRunCommandTests {
  private func line(
    ranks: Int, threads: Int = 1, hostfile: String? = nil, cores: Int = 4, isRoot: Bool = false, attach: Bool = true,
    environment: [String: String] = [:], folder: String? = nil, processors: [Int]? = nil
  ) -> String {
    MPIRunCommand(
      ranks: ranks, threadsPerRank: threads, hostfile: hostfile, exported: ["A"],
      host: LocalHost(cores: cores, chosenProcessors: processors, isRoot: isRoot, allowsCrossMemoryAttach: attach), environment: environment,
      folder: folder
    ).arguments(program: "/p", programArguments: ["x"]).joined(separator: " ")
  }

  private let local = "--mca pml ob1 --mca btl self,vader --mca plm isolated --mca oob_tcp_if_include lo"

  @Test("golden: the command line for each kind of host")
  func commandLines() {
    #expect(line(ranks: 4) == "--bind-to core \(local) -x A -n 4 /p x")
    #expect(line(ranks: 2, threads: 2) == "--map-by slot:PE=2 --bind-to core \(local) -x A -n 2 /p x")
    #expect(line(ranks: 5) == "--oversubscribe --bind-to none --mca mpi_yield_when_idle 1 \(local) -x A -n 5 /p x")
    #expect(
      line(ranks: 1, isRoot: true, attach: false)
        == "--allow-run-as-root --bind-to core \(local) --mca btl_vader_single_copy_mechanism none -x A -n 1 /p x")
    let watch = "--mca oob_tcp_keepalive_time 4 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 4"
    let ssh = "--mca plm_rsh_args -o ConnectTimeout=8"
    #expect(line(ranks: 64, hostfile: "h") == "--hostfile h \(watch) \(ssh) -x A -n 64 /p x")
    #expect(line(ranks: 64, environment: ["SLURM_JOB_ID": "1"]) == "\(watch) \(ssh) -x A -n 64 /p x")
    #expect(line(ranks: 64, hostfile: "h", environment: ["OMPI_MCA_plm_rsh_agent": "a"]) == "--hostfile h \(watch) -x A -n 64 /p x")
    #expect(line(ranks: 4, folder: "/f") == "--bind-to core \(local) --mca orte_tmpdir_base /f --mca btl_vader_backing_directory /f -x A -n 4 /p x")
  }

  @Test("golden: ranks are bound to the cores of the affinity mask, where it leaves some out")
  func affinity() {
    #expect(line(ranks: 2, processors: [4, 5, 6, 7]) == "--bind-to core --mca hwloc_base_cpu_list 4,5,6,7 \(local) -x A -n 2 /p x")
    #expect(line(ranks: 5, processors: [4, 5, 6, 7]) == line(ranks: 5))
  }

  @Test("a user's own Open MPI setting stands")
  func userSetting() {
    #expect(line(ranks: 1, environment: ["OMPI_MCA_btl": "self,tcp"]).contains("--mca btl") == false)
  }

  @Test("cores are counted by affinity mask and quota")
  func cores() throws {
    let file = FileManager.default.temporaryDirectory.appending(path: "cpu-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data("150000 100000\n".utf8).write(to: file)
    #expect(LocalHost.quota(cpuMax: file.path) == 2)
    try Data("max 100000\n".utf8).write(to: file)
    #expect(LocalHost.quota(cpuMax: file.path) == nil)
    try Data("Name:\tx\nCpus_allowed_list:\t0-2,8,10-11\nMems_allowed:\t1\n".utf8).write(to: file)
    #expect(LocalHost.allowedThreads(status: file.path) == [0, 1, 2, 8, 10, 11])
    #expect(LocalHost.allowedThreads(status: "/nonexistent") == nil)
  }
}

struct BLASEnvironmentTests {
  private let wide: Set<String> = ["avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl"]

  private func variables(_ kernel: String?, _ flags: Set<String>, _ environment: [String: String] = [:]) -> [String] {
    BLASEnvironment.variables(kernel: kernel, threads: 1, flags: flags, environment: environment).map { "\($0.name)=\($0.value)" }
  }

  @Test("an older kernel is replaced where, and only where, the processor has AVX-512")
  func kernel() {
    let threads = "OPENBLAS_NUM_THREADS=1"
    #expect(variables("Haswell", wide) == ["OPENBLAS_CORETYPE=SkylakeX", threads])
    #expect(variables("Zen", wide) == ["OPENBLAS_CORETYPE=SkylakeX", threads])
    #expect(variables("Haswell", wide.subtracting(["avx512vl"])) == [threads])
    #expect(variables("SkylakeX", wide) == [threads])
    #expect(variables("Cooperlake", wide) == [threads])
    #expect(variables(nil, wide) == [threads])
    #expect(variables("Haswell", wide, ["OPENBLAS_CORETYPE": "Haswell"]) == [threads])
    #expect(variables("Haswell", wide, ["OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "1"]) == [])
  }

  @Test("a choice of the environment that leaves AVX-512 idle is remarked on")
  func remark() {
    #expect(BLASEnvironment.remark(kernel: "Haswell", flags: wide, environment: ["OPENBLAS_CORETYPE": "Haswell"]) != nil)
    #expect(BLASEnvironment.remark(kernel: "Haswell", flags: wide, environment: [:]) == nil)
    #expect(BLASEnvironment.remark(kernel: "Haswell", flags: ["avx2"], environment: ["OPENBLAS_CORETYPE": "Haswell"]) == nil)
    #expect(BLASEnvironment.remark(kernel: "SkylakeX", flags: wide, environment: ["OPENBLAS_CORETYPE": "SkylakeX"]) == nil)
  }
}

struct RunDiagnosticsTests {
  private func read(_ lines: [String]) -> (passed: [String], diagnostics: RunDiagnostics) {
    var diagnostics = RunDiagnostics()
    var passed = lines.flatMap { diagnostics.read($0) }
    passed += diagnostics.end()
    return (passed, diagnostics)
  }

  private let rule = String(repeating: "-", count: 74)

  @Test("messages that are not about a rank's end pass through as they are")
  func passes() {
    let unknown = ["step 1", rule, "There are not enough slots", rule, "", rule, "an end that never"]
    #expect(read(unknown).passed == unknown)
    let long = [rule] + (0..<100).map { "line \($0)" }
    #expect(read(long).passed == long)
    #expect(read(unknown + long).diagnostics.failure == nil)
  }

  @Test("what Open MPI's event library says of a pipe that closed is left out, other warnings are not")
  func noise() {
    let closed = "[warn] Epoll MOD(1) on fd 39 failed. Old events were 6; read change was 0 (none); close change was 0 (none): Bad file descriptor"
    #expect(read([closed, "[warn] the disk is nearly full"]).passed == ["[warn] the disk is nearly full"])
  }

  @Test("the rank's own reason counts more than mpirun's account, and the first reason more than a later one")
  func precedence() {
    let reports = [1, 0].map { RankReport.aborted(rank: $0, code: 65, reason: "reason\nof \($0)").line }
    let (passed, diagnostics) = read(
      [rule, "mpirun noticed that process rank 3 with PID 0 on node vm exited on signal 9 (Killed).", rule] + reports)
    #expect(passed == [])
    #expect(diagnostics.failure == .aborted(rank: 1, code: 65, reason: "reason\nof 1"))
  }

  @Test("a line that only looks like a report is not taken")
  func notAReport() {
    let lines = ["tpplan ended 0", "\u{1e}tpplan ended", "\u{1e}tpplan aborted 1 x reason", "\u{1e}tpplan ended 0 1"]
    #expect(read(lines).passed == lines)
    #expect(RankReport(line: RankReport.ended(status: 2).line) == .ended(status: 2))
  }
}
