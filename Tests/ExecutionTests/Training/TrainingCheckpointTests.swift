// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Testing

@testable import Execution

/// Checkpoints' folders and files; what they hold is compared in `ResumeTests`.
struct TrainingCheckpointTests {
  private let folder = FileManager.default.temporaryDirectory.appending(path: "checkpoints-\(UUID().uuidString)").path

  /// A checkpoint of a parameter w [4, 2], of which two ranks hold two rows each.
  private func write(step: Int, in folder: String) throws {
    let path = "\(folder)/\(CheckpointFolders.name(ofStep: step))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    var files: [TrainingManifest.File] = []
    for rank in 0..<2 {
      var writer = SafetensorsWriter()
      let region = [2 * rank..<2 * rank + 2, 0..<2]
      for (content, first) in [(TrainingCheckpoint.Content.value, 0), (.state(.firstMoment), 100), (.state(.secondMoment), 200)] {
        writer.add(
          TrainingCheckpoint.name(of: "w", content, region: region), shape: [2, 2], .float32((0..<4).map { Float(first + 4 * rank + $0) }))
      }
      files.append(.init(name: "rank-\(rank)", bytes: try writer.write(to: "\(path)/rank-\(rank)")))
    }
    let manifest = TrainingManifest(
      model: "m", optimizer: .adamw, step: step, tokens: 5, settings: Hyperparameters(optimizer: .adamw).settings, files: files)
    try atomicWrite(manifest.json.canonicalBytes, to: "\(path)/\(TrainingManifest.fileName)")
  }

  private func expect(_ words: String..., from body: () throws -> Void) {
    #expect {
      try body()
    } throws: { error in
      words.allSatisfy("\(error)".contains)
    }
  }

  @Test("any part of a parameter and of the optimizer's arrays is put together from the ranks' parts")
  func regions() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try write(step: 3, in: folder)
    let checkpoint = try TrainingCheckpoint(path: folder)
    #expect(checkpoint.manifest.step == 3 && checkpoint.manifest.tokens == 5)
    var other = Hyperparameters(optimizer: .adamw)
    #expect(checkpoint.manifest.changes(to: other).isEmpty)
    (other.clipNorm, other.learningRate.decay) = (0.5, .cosine)
    #expect(
      checkpoint.manifest.changes(to: other).map { "\($0.before.name) \($0.before.value) \($0.now)" } == [
        "schedule constant cosine", "clip-norm none 0.5",
      ])
    var values = [Float](repeating: -1, count: 4)
    try checkpoint.fill(.value, of: "w", region: [0..<4, 1..<2], into: &values)
    #expect(values == [1, 3, 5, 7])
    try checkpoint.fill(.state(.secondMoment), of: "w", region: [1..<3, 0..<2], into: &values)
    #expect(values == [202, 203, 204, 205])
    expect("has 4 of the 6 elements") { try checkpoint.fill(.value, of: "w", region: [2..<5, 0..<2], into: &values) }
    expect("has no tensor \"v\"") { try checkpoint.fill(.value, of: "v", region: [0..<1], into: &values) }
    expect("was written by adamw, and the plan is for sgd") { try checkpoint.checkOptimizer(Hyperparameters(optimizer: .sgd)) }
    expect("is of the model m") { try checkpoint.checkModel(named: "n") }
  }

  @Test("the last complete checkpoint of a folder is taken; one that was being written is not")
  func latest() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    expect("there is no such folder") { _ = try TrainingCheckpoint(path: folder) }
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    expect("holds no complete checkpoint") { _ = try TrainingCheckpoint(path: folder) }
    try write(step: 3, in: folder)
    try write(step: 20, in: folder)
    try FileManager.default.moveItem(
      atPath: "\(folder)/\(CheckpointFolders.name(ofStep: 20))", toPath: "\(folder)/\(CheckpointFolders.partialName(ofStep: 20))")
    #expect(try TrainingCheckpoint(path: folder).manifest.step == 3)
    try write(step: 100, in: folder)
    #expect(try TrainingCheckpoint(path: folder).manifest.step == 100)
    // A run that begins before what is there would come to it again.
    expect("is of a later step than this run begins with") { try CheckpointWriter(folder: folder).prepare(stepsDone: 3) }
    try CheckpointWriter(folder: folder).prepare(stepsDone: 100)
  }

  @Test("files that were cut short, changed or taken away are named")
  func damage() throws {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try write(step: 3, in: folder)
    let path = "\(folder)/\(CheckpointFolders.name(ofStep: 3))"
    let (file, manifest) = (URL(filePath: path + "/rank-1"), URL(filePath: path + "/manifest.json"))
    let (bytes, text) = (try Data(contentsOf: file), try String(contentsOf: manifest, encoding: .utf8))
    try bytes.dropLast(4).write(to: file)
    expect("rank-1", "cut short or damaged") { _ = try TrainingCheckpoint(path: folder) }
    try FileManager.default.removeItem(at: file)
    expect("rank-1", "No such file") { _ = try TrainingCheckpoint(path: folder) }
    try bytes.write(to: file)
    try Data(text.replacing("\"rank-0\"", with: "\"../rank-0\"").utf8).write(to: manifest)
    expect("manifest.json", "the name of a file beside the manifest") { _ = try TrainingCheckpoint(path: folder) }
    try Data(text.replacing("checkpoint/1", with: "checkpoint/2").utf8).write(to: manifest)
    expect("tpplan/checkpoint/1") { _ = try TrainingCheckpoint(path: folder) }
    try Data(text.dropLast(9).utf8).write(to: manifest)
    expect("manifest.json") { _ = try TrainingCheckpoint(path: folder) }
  }
}
