// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// What cleans up behind a run, however mpirun, or the launcher, is ended.
///
/// mpirun is started by a shell. That gives it one signal only: at a second one (Ctrl-C twice; or the launcher's death, which the kernel tells once
/// for each of its threads) mpirun leaves at once and lets its files lie. And it takes away the folder in which they are, where mpirun was killed.
/// The launcher takes it away too, where the shell was killed, and ends processes that are left.
struct RunKeeper {
  /// In memory, `/dev/shm/tpplan-…`: the ranks' shared memory and mpirun's own files; nil where the host has no such place, and with several hosts, whose ranks could
  /// not find it; mpirun's own files then lie where it puts them.
  let folder: String?
  /// The value of `RankReport.variable` by which this run's processes are known.
  let mark = "\(getpid())-\(UInt64.random(in: 0 ... .max))"

  init(isSingleHost: Bool) {
    guard isSingleHost else {
      folder = nil
      return
    }
    // A short name: paths in it may name sockets.
    var template = Array("/dev/shm/tpplan-XXXXXX".utf8CString)
    folder = mkdtemp(&template) == nil ? nil : String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The shell itself says nothing: it would tell how mpirun was killed.
  private static let script = """
    folder=$1
    shift
    pass() {
      ending=1
      if [ -n "$child" ] && [ -z "$told" ]; then told=1; kill -TERM "$child" 2>/dev/null; fi
    }
    trap pass INT TERM HUP
    exec 3>&2 2>/dev/null
    "$@" 2>&3 3>&- &
    child=$!
    [ -z "$ending" ] || pass
    wait "$child"
    status=$?
    while kill -0 "$child" 2>/dev/null; do wait "$child"; status=$?; done
    rm -rf ${folder:+"$folder"} "${TMPDIR:-/tmp}"/ompi.*/pid."$child"
    exit "$status"
    """

  /// The program and arguments that start `command`.
  func command(_ command: [String]) -> [String] {
    // Each must end with its parent, even where that is killed; setpriv asks the kernel for that.
    let setpriv = "/usr/bin/setpriv"
    let tied = access(setpriv, X_OK) == 0 ? [setpriv, "--pdeathsig", "TERM"] : []
    return tied + ["/bin/sh", "-c", Self.script, "sh", folder ?? ""] + tied + command
  }

  /// Kills every process that the run has left on this host, but the shell, which then cleans up and ends.
  func killAll(except shell: pid_t) {
    let variable = Array("\(RankReport.variable)=\(mark)".utf8)
    for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
      guard let pid = pid_t(name), pid != getpid(), pid != shell, let environment = FileManager.default.contents(atPath: "/proc/\(name)/environ"),
        environment.split(separator: 0).contains(where: { $0.elementsEqual(variable) })
      else { continue }
      kill(pid, SIGKILL)
    }
  }

  /// After the run.
  func removeFolder() {
    if let folder { try? FileManager.default.removeItem(atPath: folder) }
  }
}
