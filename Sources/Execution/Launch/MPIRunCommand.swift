// SPDX-License-Identifier: GPL-3.0-or-later

/// The mpirun command line (Open MPI 4 and 5) for a run.
struct MPIRunCommand {
  var ranks: Int
  var threadsPerRank: Int
  var hostfile: String?
  /// Variables that ranks on other hosts need too.
  var exported: [String]
  var host: LocalHost
  /// The launcher's environment: a user's own `OMPI_MCA_…` settings stand, and a batch system is left to place the ranks.
  var environment: [String: String]
  /// Where Open MPI's files of a run on one host go; nil where it chooses.
  var folder: String?

  /// mpirun's arguments, without `mpirun` itself.
  func arguments(program: String, programArguments: [String]) -> [String] {
    var result: [String] = []
    if host.isRoot { result.append("--allow-run-as-root") }
    if let hostfile { result += ["--hostfile", hostfile] }
    result += placement
    result += isSingleHost ? localTransport : hostWatch
    for name in exported { result += ["-x", name] }
    return result + ["-n", "\(ranks)", program] + programArguments
  }

  private static let batchSystems = ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"]

  var isSingleHost: Bool { hostfile == nil && !Self.isUnderBatchSystem(environment) }

  /// Whether a batch system has given this process its hosts, on which mpirun then places the ranks.
  static func isUnderBatchSystem(_ environment: [String: String]) -> Bool { batchSystems.contains { environment[$0] != nil } }

  private var placement: [String] {
    guard isSingleHost else { return threadsPerRank > 1 ? ["--map-by", "slot:PE=\(threadsPerRank)"] : [] }
    if ranks * threadsPerRank > host.cores {
      // Waiting ranks must give up the core to the working one.
      return ["--oversubscribe", "--bind-to", "none"] + mca("mpi_yield_when_idle", "1")
    }
    let chosen = host.chosenProcessors.map { mca("hwloc_base_cpu_list", $0.map(String.init).joined(separator: ",")) } ?? []
    return (threadsPerRank > 1 ? ["--map-by", "slot:PE=\(threadsPerRank)"] : []) + ["--bind-to", "core"] + chosen
  }

  /// Shared memory only, and no look for networks: a sandbox without one would hang there, and the start takes a third of
  /// the time.
  private var localTransport: [String] {
    var result = mca("pml", "ob1") + mca("btl", "self,vader") + mca("plm", "isolated") + mca("oob_tcp_if_include", "lo")
    if let folder { result += mca("orte_tmpdir_base", folder) + mca("btl_vader_backing_directory", folder) }
    if !host.allowsCrossMemoryAttach { result += mca("btl_vader_single_copy_mechanism", "none") }
    return result
  }

  /// A host that does not answer ends the run: Open MPI would ask after five minutes, for the first time. A kernel answers, however busy
  /// the host is, so that only a connection that is down for 8 s is taken for lost. A host to which there is no connection at the start is
  /// given up as soon.
  private var hostWatch: [String] {
    var result = mca("oob_tcp_keepalive_time", "4") + mca("oob_tcp_keepalive_intvl", "1") + mca("oob_tcp_keepalive_probes", "4")
    if environment["OMPI_MCA_plm_rsh_agent"] == nil { result += mca("plm_rsh_args", "-o ConnectTimeout=8") }
    return result
  }

  private func mca(_ name: String, _ value: String) -> [String] {
    environment["OMPI_MCA_\(name)"] == nil ? ["--mca", name, value] : []
  }
}
