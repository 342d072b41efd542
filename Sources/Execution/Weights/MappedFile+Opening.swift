// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension MappedFile {
  /// A file that a run reads.
  ///
  /// - Throws: `cannotRead`.
  static func open(_ path: String) throws(ExecutionError) -> MappedFile {
    do {
      return try MappedFile(path: path)
    } catch {
      if case .unreadable(let file, let reason) = error { throw .cannotRead(file: file, reason: reason) }
      throw .document(error)
    }
  }
}
