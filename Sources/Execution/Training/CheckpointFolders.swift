// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

/// The folders in which checkpoints of one training lie: `step-00000100`, and one with another name while it is written.
enum CheckpointFolders {
  private static let prefix = "step-"
  private static let partial = ".partial"

  static func name(ofStep step: Int) -> String {
    let digits = String(step)
    return prefix + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
  }

  static func partialName(ofStep step: Int) -> String { name(ofStep: step) + partial }

  static func path(ofStep step: Int, in folder: String) -> String { Documents.path(name(ofStep: step), in: folder) }

  static func isComplete(_ checkpoint: String) -> Bool {
    FileManager.default.fileExists(atPath: "\(checkpoint)/\(TrainingManifest.fileName)")
  }

  private static func names(in folder: String) -> [String] { (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] }

  /// The steps of the checkpoints in a folder that have a manifest, in order.
  static func complete(in folder: String) -> [Int] {
    names(in: folder).compactMap { name in
      guard name.hasPrefix(prefix), let step = Int(name.dropFirst(prefix.count)), name == Self.name(ofStep: step),
        isComplete("\(folder)/\(name)")
      else { return nil }
      return step
    }.sorted()
  }

  /// The last complete checkpoint before a step that lies where another one lies.
  static func last(before step: Int, beside checkpoint: String) -> String? {
    let folder = (checkpoint as NSString).deletingLastPathComponent
    return complete(in: folder.isEmpty ? "." : folder).last { $0 < step }.map { path(ofStep: $0, in: folder) }
  }

  /// What a run that was ended while it wrote has left.
  static func partials(in folder: String) -> [String] {
    names(in: folder).filter { $0.hasPrefix(prefix) && $0.hasSuffix(partial) }.sorted()
  }
}
