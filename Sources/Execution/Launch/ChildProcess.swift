// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Synchronization

/// A program started with posix_spawn, what it prints and says is read as it comes, SIGINT, SIGTERM and SIGHUP of this process passed on.
struct ChildProcess {
  enum End: Equatable {
    case exited(Int32)
    case signalled(Int32)
  }

  let path: String
  let arguments: [String]
  let environment: [String: String]
  /// What a run that is to end is given, before all of its processes are killed.
  let grace: Duration

  /// Runs the program to its end.
  /// - Parameters:
  ///   - forwardsSignals: whether this process, while the child runs, gives the signals to it instead of dying of them.
  ///   - killAll: ends all processes of the run at once but the child itself, which cleans up. Called where a run that is to end, has not `grace` later.
  ///   - output: called with bytes of stdout.
  ///   - read: called with each line of stderr, without its break; returns whether the run is about to end.
  /// - Returns: how it ended and whether a signal was passed on.
  func run(
    forwardsSignals: Bool, killAll: (pid_t) -> Void = { _ in }, output: ([UInt8]) -> Void, read: (String) -> Bool
  ) throws(ExecutionError) -> (end: End, wasInterrupted: Bool) {
    let (printed, said) = (try pipe(), try pipe())
    defer { for pipe in [printed, said] { close(pipe.readEnd) } }

    let signals = forwardsSignals ? ForwardedSignals() : nil
    defer { signals?.stop() }
    let started = spawn(printed: printed.writeEnd, said: said.writeEnd, signals: signals?.numbers ?? ForwardedSignals.all)
    for pipe in [printed, said] { close(pipe.writeEnd) }
    guard case .success(let pid) = started else {
      if case .failure(let error) = started { throw error }
      throw failure(EINVAL)
    }
    signals?.start(pid)
    readToEnd(of: pid, printed: printed.readEnd, said: said.readEnd, signals, killAll: killAll, output, read)
    // The process keeps its id until it is waited for.
    var information = siginfo_t()
    while waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
    signals?.stop()
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    let signal = status & 0x7f
    return (signal == 0 ? .exited((status >> 8) & 0xff) : .signalled(signal), signals?.wasInterrupted ?? false)
  }

  private func pipe() throws(ExecutionError) -> (readEnd: Int32, writeEnd: Int32) {
    var ends: [Int32] = [-1, -1]
    guard Foundation.pipe(&ends) == 0 else { throw failure(errno) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
  }

  private func spawn(printed: Int32, said: Int32, signals: [Int32]) -> Result<pid_t, ExecutionError> {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, printed, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, said, STDERR_FILENO)

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // A process group of its own: Ctrl-C reaches it once, through this process, and not a second time from the terminal.
    posix_spawnattr_setpgroup(&attributes, 0)
    var defaults = sigset_t()
    sigemptyset(&defaults)
    for signal in signals + [SIGPIPE] { sigaddset(&defaults, signal) }
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

  /// Reads stdout and stderr until the last processes that hold them have closed them. Where the child has ended, a signal was passed on or `read` says that the run
  /// ends, that is waited for as long as `grace`, twice: then every other process is killed, then the child.
  private func readToEnd(
    of pid: pid_t, printed: Int32, said: Int32, _ signals: ForwardedSignals?, killAll: (pid_t) -> Void, _ output: ([UInt8]) -> Void,
    _ read: (String) -> Bool
  ) {
    var streams = [printed, said].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    var lines = LineBuffer()
    var isEnding = false
    var deadline: ContinuousClock.Instant?
    var hasKilled = false
    while streams.contains(where: { $0.fd >= 0 }) {
      if poll(&streams, nfds_t(streams.count), 200) > 0 {
        for (number, stream) in streams.enumerated() where stream.fd >= 0 && stream.revents != 0 {
          guard let bytes = Self.read(stream.fd) else {
            // One that poll passes over.
            streams[number].fd = -1
            continue
          }
          if stream.fd == printed { output(bytes) } else { for line in lines.add(bytes) where read(line) { isEnding = true } }
        }
      }
      if !isEnding { isEnding = signals?.wasInterrupted ?? false || Self.hasEnded(pid) }
      guard isEnding else { continue }
      let now = ContinuousClock.now
      guard let limit = deadline else {
        deadline = now + grace
        continue
      }
      if now < limit { continue }
      if hasKilled {
        kill(pid, SIGKILL)
        break
      }
      killAll(pid)
      hasKilled = true
      deadline = now + grace
    }
    if let rest = lines.rest { _ = read(rest) }
  }

  /// What one read gives; nil at the end.
  private static func read(_ descriptor: Int32) -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = Foundation.read(descriptor, &buffer, buffer.count)
    if count < 0, errno == EINTR { return [] }
    return count > 0 ? Array(buffer[..<count]) : nil
  }

  private static func hasEnded(_ pid: pid_t) -> Bool {
    var information = siginfo_t()
    // Zeros where it has not.
    return waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT | WNOHANG) == 0 && information.si_signo != 0
  }
}

/// Bytes of a pipe, line by line.
private struct LineBuffer {
  private var pending: [UInt8] = []

  /// What is left without a break.
  var rest: String? { pending.isEmpty ? nil : String(decoding: pending, as: UTF8.self) }

  /// The lines that these bytes complete, without their breaks.
  mutating func add(_ bytes: [UInt8]) -> [String] {
    pending += bytes
    var lines: [String] = []
    while let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
      lines.append(String(decoding: pending[..<end], as: UTF8.self))
      pending.removeSubrange(...end)
    }
    return lines
  }
}

// What a signal handler may touch: memory that needs no lock.
private let receivedSignal = Atomic<Int32>(0)
private let signalledChild = Atomic<pid_t>(0)

private func passSignal(_ number: Int32) {
  let problem = errno
  receivedSignal.store(number, ordering: .sequentiallyConsistent)
  let child = signalledChild.load(ordering: .sequentiallyConsistent)
  if child > 0 { kill(child, number) }
  errno = problem
}

/// The signals that ask a program to end, given to a child while it exists. One run of a process at a time.
///
/// The handler itself passes them on: from the first instruction on none is lost, whatever the threads of this process do.
private final class ForwardedSignals {
  static let all = [SIGINT, SIGTERM, SIGHUP]

  /// Those that are passed on. Where this process was told to ignore SIGHUP (nohup), it does, and so does the child.
  private(set) var numbers: [Int32] = []
  private var isStopped = false

  init() {
    receivedSignal.store(0, ordering: .sequentiallyConsistent)
    signalledChild.store(0, ordering: .sequentiallyConsistent)
    for number in Self.all {
      let before = signal(number, passSignal)
      let isIgnored = unsafeBitCast(before, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
      if number == SIGHUP, isIgnored { signal(number, SIG_IGN) } else { numbers.append(number) }
    }
    // Some programs start others with these blocked.
    var set = sigset_t()
    sigemptyset(&set)
    for number in numbers { sigaddset(&set, number) }
    pthread_sigmask(SIG_UNBLOCK, &set, nil)
  }

  var wasInterrupted: Bool { receivedSignal.load(ordering: .sequentiallyConsistent) != 0 }

  func start(_ child: pid_t) {
    signalledChild.store(child, ordering: .sequentiallyConsistent)
    // One that came before there was a child.
    let number = receivedSignal.load(ordering: .sequentiallyConsistent)
    if number != 0 { kill(child, number) }
  }

  func stop() {
    if isStopped { return }
    isStopped = true
    signalledChild.store(0, ordering: .sequentiallyConsistent)
    for number in numbers { signal(number, SIG_DFL) }
  }
}
