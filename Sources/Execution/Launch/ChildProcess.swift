// SPDX-License-Identifier: GPL-3.0-or-later
import Dispatch
import Foundation

/// A program started with posix_spawn, its stderr read line by line, SIGINT, SIGTERM and SIGHUP of this process passed on.
struct ChildProcess {
  enum End: Equatable {
    case exited(Int32)
    case signalled(Int32)
  }

  let path: String
  let arguments: [String]
  let environment: [String: String]
  /// The descriptor that becomes the child's stdout.
  let output: Int32

  /// Runs the program to its end.
  /// - Parameters:
  ///   - forwardsSignals: whether this process, while the child runs, gives the signals to it instead of dying of them.
  ///   - read: called with each line of stderr, without its break.
  /// - Returns: how it ended and whether a signal was passed on.
  func run(forwardsSignals: Bool, read: (String) -> Void) throws(ExecutionError) -> (end: End, wasInterrupted: Bool) {
    var pipeEnds: [Int32] = [-1, -1]
    guard pipe(&pipeEnds) == 0 else { throw failure(errno) }
    let (readEnd, writeEnd) = (pipeEnds[0], pipeEnds[1])
    for end in pipeEnds { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(readEnd) }

    let forwarder = forwardsSignals ? SignalForwarder() : nil
    defer { forwarder?.stop() }
    let started = spawn(standardError: writeEnd)
    close(writeEnd)
    guard case .success(let pid) = started else {
      if case .failure(let error) = started { throw error }
      throw failure(EINVAL)
    }
    forwarder?.start(pid)
    Self.readLines(from: readEnd, read)
    // stderr is closed by the last process that holds it, so this wait is short; the process keeps its id until it is over.
    var information = siginfo_t()
    while waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
    forwarder?.stop()
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    let signal = status & 0x7f
    return (signal == 0 ? .exited((status >> 8) & 0xff) : .signalled(signal), forwarder?.wasInterrupted ?? false)
  }

  private func spawn(standardError: Int32) -> Result<pid_t, ExecutionError> {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    if output != STDOUT_FILENO { posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO) }
    posix_spawn_file_actions_adddup2(&actions, standardError, STDERR_FILENO)

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // A process group of its own: Ctrl-C reaches it once, through this process, and not a second time from the terminal.
    posix_spawnattr_setpgroup(&attributes, 0)
    var defaults = sigset_t()
    sigemptyset(&defaults)
    for signal in SignalForwarder.signals + [SIGPIPE] { sigaddset(&defaults, signal) }
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))

    var argv: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = environment.sorted { $0.key < $1.key }.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var pid: pid_t = 0
    let code = posix_spawn(&pid, path, &actions, &attributes, &argv, &envp)
    return code == 0 ? .success(pid) : .failure(failure(code))
  }

  private func failure(_ code: Int32) -> ExecutionError { .cannotStart(program: path, reason: String(cString: strerror(code))) }

  private static func readLines(from descriptor: Int32, _ line: (String) -> Void) {
    var pending: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      pending += buffer[..<count]
      while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
        line(String(decoding: pending[..<end], as: UTF8.self))
        pending.removeSubrange(...end)
      }
    }
    if !pending.isEmpty { line(String(decoding: pending, as: UTF8.self)) }
  }
}

/// Passes the signals that ask a program to end to a child, while it exists.
private final class SignalForwarder: @unchecked Sendable {
  static let signals = [SIGINT, SIGTERM, SIGHUP]

  // Guarded by `queue`, on which the handlers run.
  private let queue = DispatchQueue(label: "tpplan.signals")
  private var pid: pid_t?
  private var interrupted: Int32?
  private var sources: [any DispatchSourceSignal] = []

  /// From here on the signals no longer end this process; they are kept until there is a child to have them.
  init() {
    for number in Self.signals {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { [weak self] in self?.pass(number) }
      source.activate()
      sources.append(source)
    }
  }

  var wasInterrupted: Bool { queue.sync { interrupted != nil } }

  func start(_ child: pid_t) {
    queue.sync {
      pid = child
      if let interrupted { kill(child, interrupted) }
    }
  }

  func stop() {
    queue.sync {
      for source in sources { source.cancel() }
      if !sources.isEmpty { for number in Self.signals { signal(number, SIG_DFL) } }
      sources = []
      pid = nil
    }
  }

  private func pass(_ number: Int32) {
    interrupted = number
    if let pid { kill(pid, number) }
  }
}
