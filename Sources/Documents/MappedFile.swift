// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// A file mapped read-only, so that a rank touches only the pages of its shard.
///
/// A file that is cut short while it is mapped ends the process (SIGBUS), as for every reader by mmap.
package final class MappedFile: @unchecked Sendable {
  package let bytes: UnsafeRawBufferPointer

  /// - Throws: `DocumentError.unreadable`.
  package init(path: String) throws(DocumentError) {
    func failure() -> DocumentError { .unreadable(file: path, reason: systemMessage(errno)) }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure() }
    defer { close(descriptor) }
    var information = stat()
    guard fstat(descriptor, &information) == 0 else { throw failure() }
    guard information.st_mode & S_IFMT == S_IFREG else { throw .unreadable(file: path, reason: "it is not a regular file") }
    let count = Int(information.st_size)
    guard count > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)
      return
    }
    guard let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), address != MAP_FAILED else { throw failure() }
    bytes = UnsafeRawBufferPointer(start: address, count: count)
  }

  deinit {
    if let address = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: address), bytes.count) }
  }
}
