// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// What was probably meant by the name of a file that is not there, as the end of a message; empty where nothing is like it.
func suggestion(forMissing path: String) -> String {
  let folder = (path as NSString).deletingLastPathComponent
  let name = (path as NSString).lastPathComponent
  guard let names = visibleNames(in: folder.isEmpty ? "." : folder) else { return "; there is no folder \(folder)" }
  var meant = like(name, among: names).map { folder.isEmpty ? $0 : Documents.path($0, in: folder) }
  // `gpt2` for models/gpt2.json.
  if meant.isEmpty, folder.isEmpty {
    let files = ["models", "hardware", "plans"].flatMap { folder in [name, name + ".json"].map { Documents.path($0, in: folder) } }
    meant = files.filter(FileManager.default.fileExists(atPath:))
  }
  guard let last = meant.last else { return "" }
  return "; did you mean " + (meant.count > 1 ? meant.dropLast().joined(separator: ", ") + " or " : "") + last + "?"
}

private func visibleNames(in folder: String) -> [String]? {
  try? FileManager.default.contentsOfDirectory(atPath: folder).filter { !$0.hasPrefix(".") }.sorted()
}

/// The few names that a name without its extension begins, else the one that it may be a slip of the pen for.
private func like(_ name: String, among names: [String]) -> [String] {
  let stem = (name as NSString).deletingPathExtension
  let beginnings = stem.count < 3 ? [] : names.filter { $0.hasPrefix(stem) }
  if (1...3).contains(beginnings.count) { return beginnings }
  return nearestSpelling(to: name, among: names).map { [$0] } ?? []
}
