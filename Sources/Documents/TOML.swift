// SPDX-License-Identifier: GPL-3.0-or-later

/// Reads TOML 1.0 (https://toml.io/en/v1.0.0) as a JSON value: tables are objects, in the order in which their keys first appear.
///
/// JSON has no dates and no infinity: dates and times, `inf` and `nan` are strings, as they are written.
package enum TOML {
  /// - Throws: `DocumentError.tomlSyntax`, which names `file`.
  package static func parse(_ bytes: some Collection<UInt8>, file: String) throws(DocumentError) -> JSON {
    let contiguous = ContiguousArray(bytes)
    let result = contiguous.withUnsafeBufferPointer { (buffer) -> Result<JSON, DocumentError> in
      var parser = TOMLParser(TOMLScanner(bytes: buffer))
      do throws(TOMLFailure) {
        return .success(try parser.document())
      } catch {
        let (line, column) = parser.scanner.lineAndColumn(of: error.offset)
        return .failure(.tomlSyntax(file: file, line: line, column: column, problem: error.problem))
      }
    }
    return try result.get()
  }
}

extension Document {
  /// - Throws: `DocumentError.tomlSyntax`.
  package init(file: String, parsingTOML bytes: some Collection<UInt8>) throws(DocumentError) {
    self.init(file: file, value: try TOML.parse(bytes, file: file))
  }
}

/// What is wrong with a TOML text, and at which byte.
struct TOMLFailure: Error {
  var offset: Int
  var problem: String
}
