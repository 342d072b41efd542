// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

@testable import Documents

/// A folder of its own for one test, removed at the end.
private func withTemporaryFolder(_ body: (String) throws -> Void) throws {
  var template = Array("/tmp/tpplan-test-XXXXXX".utf8CString)
  _ = try #require(mkdtemp(&template))
  let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer { try? FileManager.default.removeItem(atPath: folder) }
  try body(folder)
}

private func names(in folder: String) throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: folder).sorted() }

@Suite struct FileTests {
  @Test func writesAndReplaces() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/plan.json"
      try atomicWrite(Array("[1]".utf8), to: path)
      #expect(try readFile(path) == Array("[1]".utf8))
      #expect(try Document(readingFrom: path).value == [1])
      chmod(path, 0o640)
      try atomicWrite(Array("[2, 3]".utf8), to: path)
      #expect(try Document(readingFrom: path).value == [2, 3])
      #expect(try names(in: folder) == ["plan.json"])
      var status = stat()
      #expect(stat(path, &status) == 0 && status.st_mode & 0o7777 == 0o640)
    }
  }

  @Test func makesFoldersWithTheSystemsReason() throws {
    try withTemporaryFolder { folder in
      for _ in 0..<2 { try makeFolder(folder + "/a/b/c/") }
      #expect(try names(in: folder + "/a/b") == ["c"])
      try atomicWrite([1], to: folder + "/file")
      #expect(throws: DocumentError.unwritable(file: folder + "/file/a", reason: "Not a directory")) { try makeFolder(folder + "/file/a") }
      // Not that the folder in which it was to be made is missing: why that could not be made.
      #expect {
        try makeFolder("/sys/tpplan/a")
      } throws: { error in
        "\(error)".hasPrefix("/sys/tpplan: cannot be written") && !"\(error)".contains("No such file")
      }
    }
  }

  @Test func resolvesPaths() throws {
    try withTemporaryFolder { folder in
      let folder = try #require(realPath(folder))
      try atomicWrite([1], to: folder + "/real")
      symlink("real", folder + "/link")
      symlink(".", folder + "/here")
      for name in ["real", "link", "./real", "here/here/link", "../\((folder as NSString).lastPathComponent)/real"] {
        #expect(resolvedPath("\(folder)/\(name)") == folder + "/real")
      }
      for name in ["new", "here/new", "./new", "new/"] { #expect(resolvedPath("\(folder)/\(name)") == folder + "/new") }
      #expect(resolvedPath(folder + "/missing/../x") == folder + "/x")
    }
  }

  @Test func joinsNames() {
    for (folder, expected) in [("a", "a/x"), ("a/b//", "a/b/x"), ("/", "/x"), ("//", "/x"), (".", "./x"), ("", "x")] {
      #expect(path("x", in: folder) == expected)
    }
  }

  @Test func followsLinks() throws {
    try withTemporaryFolder { folder in
      try atomicWrite([1], to: folder + "/real")
      symlink("real", folder + "/link")
      try atomicWrite([2], to: folder + "/link")
      #expect(try readFile(folder + "/real") == [2])
      #expect(try FileManager.default.destinationOfSymbolicLink(atPath: folder + "/link") == "real")
    }
  }

  @Test func doesNotReplaceDevices() throws {
    try atomicWrite(Array("x".utf8), to: "/dev/null")
    var status = stat()
    #expect(stat("/dev/null", &status) == 0 && status.st_mode & S_IFMT == S_IFCHR)
  }

  @Test func failureLeavesNothing() throws {
    try withTemporaryFolder { folder in
      // A folder in the way, and a folder that is not there.
      try FileManager.default.createDirectory(atPath: folder + "/taken", withIntermediateDirectories: false)
      for path in [folder + "/taken", folder + "/absent/plan.json"] {
        #expect {
          try atomicWrite([1], to: path)
        } throws: { error in
          guard let error = error as? DocumentError, case .unwritable(path, _) = error else { return false }
          return error.exitCode == 73
        }
      }
      #expect(try names(in: folder) == ["taken"])
    }
  }

  @Test func unreadableFiles() throws {
    try withTemporaryFolder { folder in
      #expect(throws: DocumentError.unreadable(file: folder + "/none", reason: "No such file or directory")) { try readFile(folder + "/none") }
      #expect(throws: DocumentError.unreadable(file: folder, reason: "it is a directory; name a file in it")) { try readFile(folder) }
      try atomicWrite([UInt8](repeating: 0x20, count: 100), to: folder + "/big")
      #expect(throws: DocumentError.tooLarge(file: folder + "/big", bytes: 100, limit: 99)) { try readFile(folder + "/big", limit: 99) }
      #expect(try readFile(folder + "/big", limit: 100).count == 100)
      // A file without a size: the limit holds while reading.
      #expect(throws: DocumentError.self) { try readFile("/dev/zero", limit: 1 << 20) }
    }
  }
}
