// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Progress, notes, and why a process ends. No work depends on them: what cannot be written is lost.
package enum StandardError {
  package static func write(_ text: String) { _ = writeAll(Array(text.utf8), to: STDERR_FILENO) }
}

/// Results. What was not written is an error, as in a file.
package enum StandardOutput {
  /// - Throws: `DocumentError.unwritable`.
  package static func write(_ bytes: [UInt8]) throws(DocumentError) {
    if writeAll(bytes, to: STDOUT_FILENO) { return }
    let code = errno
    // A reader that leaves early, as `head` does, has what it wants: this process ends as one that never heard of it.
    if code == EPIPE {
      signal(SIGPIPE, SIG_DFL)
      raise(SIGPIPE)
    }
    throw .unwritable(file: "standard output", reason: systemMessage(code))
  }

  /// - Throws: `DocumentError.unwritable`.
  package static func write(_ text: String) throws(DocumentError) { try write(Array(text.utf8)) }
}

package enum StandardStreams {
  /// Makes writing to streams that nobody reads, or that were closed, an error of that write and of nothing else. Before any file is opened.
  package static func prepare() {
    signal(SIGPIPE, SIG_IGN)
    // Else the next file that is opened has the number of a closed stream, and gets what is written to that. Opened the other way round, each stays
    // as unusable as it was.
    for (descriptor, mode) in [(STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY)]
    where fcntl(descriptor, F_GETFD) < 0 {
      // The lowest number that is free: this one.
      _ = open("/dev/null", mode)
    }
  }
}

/// False where not every byte could be written; errno says why.
package func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Bool {
  var rest = bytes
  while !rest.isEmpty {
    let count = write(descriptor, rest.baseAddress, rest.count)
    if count < 0, errno == EINTR { continue }
    guard count > 0 else { return false }
    rest = UnsafeRawBufferPointer(rebasing: rest[count...])
  }
  return true
}

func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool { bytes.withUnsafeBytes { writeAll($0, to: descriptor) } }
