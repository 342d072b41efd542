// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// The JSON documents of the safetensors format, as they stand in the file; what they mean is checked by their readers.
enum SafetensorsJSON {
  struct Entry: Codable {
    let dtype: String
    let shape: [Int]
    let offsets: [Int]

    enum CodingKeys: String, CodingKey {
      case dtype
      case shape
      case offsets = "data_offsets"
    }
  }

  struct Header: Codable {
    /// By name.
    var entries: [(name: String, entry: Entry)]
    var metadata: [String: String]

    private static let metadataName = Name(stringValue: "__metadata__")

    init(entries: [(name: String, entry: Entry)], metadata: [String: String]) {
      self.entries = entries
      self.metadata = metadata
    }

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Name.self)
      let names = container.allKeys.filter { $0.stringValue != Self.metadataName.stringValue }
      entries = try names.map { ($0.stringValue, try container.decode(Entry.self, forKey: $0)) }.sorted { $0.0 < $1.0 }
      metadata = try container.decodeIfPresent([String: String].self, forKey: Self.metadataName) ?? [:]
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Name.self)
      if !metadata.isEmpty { try container.encode(metadata, forKey: Self.metadataName) }
      for (name, entry) in entries { try container.encode(entry, forKey: Name(stringValue: name)) }
    }
  }

  struct Index: Decodable {
    let weightMap: [String: String]

    private enum CodingKeys: String, CodingKey {
      case weightMap = "weight_map"
    }
  }

  private struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { return nil }
  }

  /// - Throws: `malformedWeights`.
  static func decode<Document: Decodable>(
    _ document: Document.Type, from bytes: UnsafeRawBufferPointer, of file: String, called what: String
  ) throws(ExecutionError) -> Document {
    do {
      return try JSONDecoder().decode(document, from: Data(bytes))
    } catch let error as DecodingError {
      let (path, problem) = describe(error)
      // The first step of a header's path is a tensor.
      let tensor = document == Header.self ? path.first : nil
      let place = path.dropFirst(tensor == nil ? 0 : 1).joined(separator: ".")
      throw .malformedWeights(file: file, tensor: tensor, problem: "\(what)\(place.isEmpty ? "" : ", \(place)"): \(problem)")
    } catch {
      throw .malformedWeights(file: file, tensor: nil, problem: "\(what): \(error)")
    }
  }

  /// With sorted keys.
  static func encode(_ header: Header) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(header))
  }

  private static func describe(_ error: DecodingError) -> (path: [String], problem: String) {
    switch error {
    case .keyNotFound(let key, let context): (context.codingPath.map(\.stringValue), "has no \"\(key.stringValue)\"")
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      (context.codingPath.map(\.stringValue), context.debugDescription)
    @unknown default: ([], "\(error)")
    }
  }
}
