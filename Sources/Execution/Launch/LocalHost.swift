// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// What of this machine decides how ranks are placed on it.
struct LocalHost: Equatable {
  /// Physical cores that this process may use: its affinity mask, a hyper-thread pair once, at most its cgroup's quota.
  var cores: Int
  /// The processors of the affinity mask, where it leaves some out (`taskset`): mpirun would bind ranks to cores that it does not have.
  var chosenProcessors: [Int]?
  var isRoot: Bool
  /// Whether one rank may copy straight from another's memory (process_vm_readv); some containers forbid it.
  var allowsCrossMemoryAttach: Bool

  static func current() -> LocalHost {
    LocalHost(cores: usableCores(), chosenProcessors: chosenProcessors(), isRoot: geteuid() == 0, allowsCrossMemoryAttach: probeCrossMemoryAttach())
  }

  private static func chosenProcessors() -> [Int]? {
    let allowed = allowedThreads(status: "/proc/self/status")
    return allowed.flatMap { $0.count < sysconf(Int32(_SC_NPROCESSORS_ONLN)) ? $0 : nil }
  }

  /// What a host file may call this machine.
  static var names: Set<String> {
    let name = ProcessInfo.processInfo.hostName
    return ["localhost", "127.0.0.1", "::1", name, name.split(separator: ".").first.map(String.init) ?? name]
  }

  static func usableCores() -> Int {
    let allowed = allowedThreads(status: "/proc/self/status") ?? Array(0..<ProcessInfo.processInfo.activeProcessorCount)
    let cores = Set(allowed.map { firstSibling(of: $0) }).count
    return max(1, min(cores, quota(cpuMax: "/sys/fs/cgroup/cpu.max") ?? cores))
  }

  /// The affinity mask: `Cpus_allowed_list: 0-3,8`.
  static func allowedThreads(status path: String) -> [Int]? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Cpus_allowed_list:") })
    else { return nil }
    var threads: [Int] = []
    for range in line.drop(while: { $0 != ":" }).dropFirst().split(separator: ",") {
      let bounds = range.split(separator: "-").map { Int($0.trimmingCharacters(in: .whitespaces)) }
      guard let first = bounds.first ?? nil, let last = bounds.last ?? nil, first <= last else { return nil }
      threads += first...last
    }
    return threads.isEmpty ? nil : threads
  }

  /// The lowest hardware thread on the same core.
  private static func firstSibling(of thread: Int) -> Int {
    let path = "/sys/devices/system/cpu/cpu\(thread)/topology/thread_siblings_list"
    guard let list = try? String(contentsOfFile: path, encoding: .utf8) else { return thread }
    return list.prefix(while: \.isNumber).isEmpty ? thread : Int(list.prefix(while: \.isNumber)) ?? thread
  }

  /// `"200000 100000"` is two cores' worth of time, `"max 100000"` no limit.
  static func quota(cpuMax path: String) -> Int? {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    let numbers = text.split(whereSeparator: \.isWhitespace).map { Double($0) }
    guard numbers.count == 2, let limit = numbers[0], let period = numbers[1], period > 0 else { return nil }
    return Int((limit / period).rounded(.up))
  }

  private typealias CrossMemoryRead = @convention(c) (pid_t, UnsafePointer<iovec>, UInt, UnsafePointer<iovec>, UInt, UInt) -> Int

  /// A seccomp filter that forbids process_vm_readv forbids it on oneself too. (Yama's ptrace_scope Open MPI deals with.)
  /// The function is a GNU extension, which Swift's Glibc module does not import.
  private static func probeCrossMemoryAttach() -> Bool {
    guard let symbol = dlsym(nil, "process_vm_readv") else { return false }
    let readMemory = unsafeBitCast(symbol, to: CrossMemoryRead.self)
    var source: UInt64 = 0x7470_706C_616E
    var copy: UInt64 = 0
    let count = withUnsafeMutableBytes(of: &source) { source in
      withUnsafeMutableBytes(of: &copy) { copy in
        var local = iovec(iov_base: copy.baseAddress, iov_len: copy.count)
        var remote = iovec(iov_base: source.baseAddress, iov_len: source.count)
        return readMemory(getpid(), &local, 1, &remote, 1, 0)
      }
    }
    return count == MemoryLayout<UInt64>.size && copy == source
  }
}
