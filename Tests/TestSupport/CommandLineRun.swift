// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// One run of tpplan, in the package's folder.
package struct CommandLineRun {
  package let arguments: [String]
  package let status: Int32
  /// Standard output and standard error.
  package let output: String

  /// Where runs take place: the package's folder.
  package static var folder: URL { URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized }

  /// What `TPPLAN` names, else the program that was built beside the tests.
  package static var program: URL {
    get throws {
      if let path = ProcessInfo.processInfo.environment["TPPLAN"] { return URL(filePath: path) }
      let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
      return URL(filePath: tests).deletingLastPathComponent().appending(path: "tpplan")
    }
  }

  /// - Parameter shell: what a shell does with the command `"$@"`, such as redirecting what it writes.
  package init(_ arguments: [String], shell: String = "exec \"$@\"") throws {
    self.arguments = arguments
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = ["-c", shell, "sh", try Self.program.path] + arguments
    process.currentDirectoryURL = Self.folder
    process.standardInput = FileHandle.nullDevice
    let pipe = Pipe()
    (process.standardOutput, process.standardError) = (pipe, pipe)
    try process.run()
    output = String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    process.waitUntilExit()
    status = process.terminationStatus
  }
}

/// A folder of this test's own, removed with it.
package final class TemporaryFolder {
  package let url: URL

  package init() throws {
    url = FileManager.default.temporaryDirectory.appending(path: "tpplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  package func file(_ name: String) -> String { url.appending(path: name).path }
}
