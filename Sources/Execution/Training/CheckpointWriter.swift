// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Lowering
import ModelGraph
import Plans
import Strategies

/// Writes a training's checkpoints: each rank what it owns, of replicas each an equal part, in a file of its own.
///
/// A checkpoint is written under another name and renamed when all of it is on the disk, so that a folder `step-N` is always complete.
package struct CheckpointWriter {
  /// The folder that holds the checkpoints; all ranks see it.
  package var folder: String
  /// How many of the last are kept; nil keeps all.
  package var keep: Int?

  package init(folder: String, keep: Int? = nil) {
    self.folder = folder
    self.keep = keep
  }

  /// Makes the folder where it is missing, and refuses one whose checkpoints this run would come to again.
  /// - Parameter stepsDone: what the run goes on from.
  /// - Throws: `cannotWrite`, `unusableCheckpoint`.
  package func prepare(stepsDone: Int) throws(ExecutionError) {
    // What is there is left as it is; what could not be made is not there.
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    guard access("\(folder)/.", W_OK) == 0 else { throw .cannotWrite(file: folder, reason: String(cString: strerror(errno))) }
    if let later = CheckpointFolders.complete(in: folder).first(where: { $0 > stepsDone }) {
      throw .unusableCheckpoint(
        folder: "\(folder)/\(CheckpointFolders.name(ofStep: later))",
        problem: "is of a later step than this run begins with; go on from it with --resume \(folder), or name another folder")
    }
  }

  /// Writes one. Collective over the executor's ranks.
  /// - Parameter tokens: what the training has taken from the token file.
  /// - Throws: `cannotWrite`, on a rank that cannot; the others wait to be ended with it.
  /// - Returns: its folder.
  func write(_ executor: Executor, tokens: Int) throws(ExecutionError) -> String {
    let world = executor.world
    let step = executor.optimizer.step
    let partial = "\(folder)/\(CheckpointFolders.partialName(ofStep: step))"
    try together(world, partial: partial) { () throws(ExecutionError) in if world.rank == 0 { try makeFolder(partial) } }
    var bytes = 0
    try together(world, partial: partial) { () throws(ExecutionError) in bytes = try writeParts(executor, in: partial) }
    let sizes = try world.shareNumbers([Double(bytes)])
    try together(world, partial: partial) { () throws(ExecutionError) in
      guard world.rank == 0 else { return }
      let files = sizes.enumerated().map { TrainingManifest.File(name: Self.fileName($0, of: world.size), bytes: Int($1[0])) }
      let manifest = TrainingManifest(
        model: executor.program.graph.name, optimizer: executor.optimizer.hyperparameters.optimizer, step: step, tokens: tokens,
        settings: executor.optimizer.hyperparameters.settings, files: files)
      try complete(partial, manifest)
    }
    return "\(folder)/\(CheckpointFolders.name(ofStep: step))"
  }

  private static func fileName(_ rank: Int, of ranks: Int) -> String { "rank-\(rank)-of-\(ranks).safetensors" }

  /// Does something on every rank; where it fails on one, what was written is taken away, and only ranks that know why go on, to say so.
  private func together(
    _ world: Communicator, partial: String, _ body: () throws(ExecutionError) -> Void
  ) throws(ExecutionError) {
    var failure: ExecutionError?
    do throws(ExecutionError) { try body() } catch { failure = error }
    guard try world.any(failure != nil) else { return }
    if world.rank == 0 { try? FileManager.default.removeItem(atPath: partial) }
    try world.barrier()
    if let failure { throw failure }
    // Ended by the rank that failed.
    try world.barrier()
  }

  private func makeFolder(_ partial: String) throws(ExecutionError) {
    let manager = FileManager.default
    // What a run that was ended has left.
    for name in CheckpointFolders.partials(in: folder) { try? manager.removeItem(atPath: "\(folder)/\(name)") }
    guard mkdir(partial, 0o777) == 0 else { throw .cannotWrite(file: partial, reason: String(cString: strerror(errno))) }
  }

  /// - Returns: the bytes of this rank's file.
  private func writeParts(_ executor: Executor, in partial: String) throws(ExecutionError) -> Int {
    let program = executor.program
    var writer = SafetensorsWriter()
    for (index, parameter) in program.parameters.enumerated() {
      guard let own = program.savedPart(of: parameter, in: executor.decision) else { continue }
      let name = program.graph.name(ofParameter: parameter.tensor, copy: parameter.copy)
      let values = executor.memory.floats(parameter.value) + parameter.startInValue
      let arrays: [(TrainingCheckpoint.Content, UnsafeMutablePointer<Float>)] =
        [(.value, values)] + executor.optimizer.arrays(of: index).map { (.state($0), $1) }
      for (content, array) in arrays {
        var place = UnsafePointer(array) + own.lowerBound - parameter.part.lowerBound
        for region in parameter.region.regions(ofElements: own) {
          writer.add(
            TrainingCheckpoint.name(of: name, content, region: region), shape: region.map(\.count),
            .memory(UnsafeBufferPointer(start: place, count: region.elementCount)))
          place += region.elementCount
        }
      }
    }
    let path = "\(partial)/\(Self.fileName(executor.world.rank, of: executor.world.size))"
    if access(partial, F_OK) != 0 {
      throw .cannotWrite(file: path, reason: "its folder is not there on this host; a checkpoint's folder must be one that all hosts share")
    }
    return try writer.write(to: path)
  }

  private func complete(_ partial: String, _ manifest: TrainingManifest) throws(ExecutionError) {
    do throws(DocumentError) {
      try atomicWrite(manifest.json.canonicalBytes, to: "\(partial)/\(TrainingManifest.fileName)")
    } catch {
      throw .document(error)
    }
    let path = "\(folder)/\(CheckpointFolders.name(ofStep: manifest.step))"
    guard rename(partial, path) == 0 else { throw .cannotWrite(file: path, reason: String(cString: strerror(errno))) }
    synchronise(folder: folder)
    guard let keep else { return }
    for step in CheckpointFolders.complete(in: folder).dropLast(keep) {
      try? FileManager.default.removeItem(atPath: "\(folder)/\(CheckpointFolders.name(ofStep: step))")
    }
  }
}

extension Program {
  /// The elements of its shard of a parameter that this rank saves, counted in row-major order: of what it owns, its share among the replicas
  /// that own the same; nil where another stage saves them.
  fileprivate func savedPart(of parameter: LocalParameter, in decision: Decision) -> Range<Int>? {
    guard let replica = replica(of: parameter, in: decision) else { return nil }
    let part = Shard.part(of: parameter.part, index: replica.index, parts: replica.count)
    return part.isEmpty ? nil : part
  }
}
