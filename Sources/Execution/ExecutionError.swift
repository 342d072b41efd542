// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities

/// What can go wrong while a plan runs, other than a programmer's mistake.
package enum ExecutionError: Error, Equatable, Sendable {
  /// An MPI function did not return MPI_SUCCESS; `message` is MPI_Error_string's.
  case mpi(function: String, code: Int32, message: String)
  /// A message has more elements than MPI's `int` counts can say, in a call that cannot be cut into several.
  case messageTooLong(function: String, elements: Int)
  /// `mpirun` is on none of the paths that were searched.
  case mpirunNotFound(searched: [String])
  /// A program could not be started; `reason` is the system's.
  case cannotStart(program: String, reason: String)
  /// A file could not be opened, mapped, or read; `reason` is the system's or says what the file is instead.
  case cannotRead(file: String, reason: String)
  case cannotWrite(file: String, reason: String)
  /// A safetensors file, or the index of several, breaks the format; `tensor` is nil where the file as a whole does.
  case malformedWeights(file: String, tensor: String?, problem: String)
  case noSuchTensor(file: String, tensor: String)
  /// A tensor is there, but is not what was asked for.
  case unusableTensor(file: String, tensor: String, problem: String)
  /// A JSON file that the run reads is not what it must be.
  case document(DocumentError)
  /// An input that the model needs is not in the file, or is not what the model takes.
  case unusableInput(file: String, input: String, problem: String)
  /// A training cannot go on from a checkpoint.
  case unusableCheckpoint(folder: String, problem: String)
  /// A model does not go on with a text.
  case cannotGenerate(model: String, problem: String)
  /// A prompt and what is to follow it have more positions than the model.
  case tooLongText(model: String, positions: Int, prompt: Int, newTokens: Int)
  /// A host file is not one that Open MPI can use; `line` counts from 1, nil for the file as a whole.
  case unusableHostfile(file: String, line: Int?, problem: String)
  /// A host file has fewer slots than the plan has ranks.
  case tooFewSlots(hostfile: String, slots: Int, ranks: Int)
  /// The ranks that would be started on this machine need more memory than it has left. `verificationBytes` is what comparing with one rank
  /// takes beside them.
  case notEnoughMemory(ranks: Int, bytes: Int, verificationBytes: Int, available: Int, dtype: String)
  /// A step gave a loss that is no number, or infinite.
  case lossNotFinite(step: Int, loss: Double)
  /// This rank could not get memory for a tensor.
  case outOfMemory(bytes: Int)
  /// A plan was started with another number of ranks than it has.
  case wrongRankCount(planned: Int, found: Int)
}

extension ExecutionError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .mpi(let function, let code, let message):
      "\(function) failed: \(message) (error \(code))"
    case .messageTooLong(let function, let elements):
      "\(function) was given \(elements) elements; one call can carry at most \(Int32.max). Split the tensor over more ranks."
    case .mpirunNotFound(let searched):
      "mpirun was not found in \(searched.joined(separator: ":")). Install Open MPI (Debian: apt install openmpi-bin) or put mpirun on PATH."
    case .cannotStart(let program, let reason):
      "\(program) could not be started: \(reason)"
    case .cannotRead(let file, let reason):
      "\(file): cannot be read: \(reason)"
    case .cannotWrite(let file, let reason):
      "\(file): cannot be written: \(reason)"
    case .malformedWeights(let file, let tensor?, let problem):
      "\(file): tensor \"\(tensor)\": \(problem)"
    case .malformedWeights(let file, nil, let problem):
      "\(file): \(problem)"
    case .noSuchTensor(let file, let tensor):
      "\(file): has no tensor \"\(tensor)\"; check that the weights belong to this model"
    case .unusableTensor(let file, let tensor, let problem):
      "\(file): tensor \"\(tensor)\": \(problem)"
    case .document(let error):
      error.description
    case .unusableInput(let file, let input, let problem):
      "\(file): input \"\(input)\": \(problem)"
    case .unusableCheckpoint(let folder, let problem):
      "\(folder): the checkpoint \(problem)"
    case .tooLongText(let model, let positions, let prompt, let newTokens):
      "\(model) has \(positions) positions; a prompt of \(counted(prompt, "token")) and \(newTokens) new ones take \(prompt + newTokens - 1), since the last is not read"
        + " again: give fewer --new-tokens"
    case .cannotGenerate(let model, let problem):
      "\(model) cannot generate text: \(problem)"
    case .unusableHostfile(let file, let line, let problem):
      "\(file)\(line.map { ":\($0)" } ?? ""): \(problem)"
    case .tooFewSlots(let hostfile, let slots, let ranks):
      "\(hostfile): has \(counted(slots, "slot")), and the plan needs \(ranks), one for each of its ranks; raise slots=N of its hosts, add"
        + " hosts, or search a plan with --devices \(slots)"
    case .notEnoughMemory(let ranks, let bytes, let verificationBytes, let available, let dtype):
      Self.notEnoughMemory(ranks, Bytes(bytes), verification: Bytes(verificationBytes), available: Bytes(available), dtype)
    case .lossNotFinite(let step, let loss):
      "the loss of step \(step) is \(loss.isNaN ? "nan" : "\(loss)"), so the run ended there; "
        + (step == 0
          ? "look for such values, or very large ones, in the weights and inputs that it was given"
          : "a smaller learning rate (--lr) may keep it finite")
    case .outOfMemory(let bytes):
      "\(bytes) bytes of memory could not be allocated; use more ranks or smaller micro-batches"
    case .wrongRankCount(let planned, let found):
      "the plan is for \(counted(planned, "rank")), and \(found) \(found == 1 ? "was" : "were") started; start it with mpirun -n \(planned)"
    }
  }

  private static func notEnoughMemory(_ ranks: Int, _ bytes: Bytes, verification: Bytes, available: Bytes, _ dtype: String) -> String {
    let format = dtype == "fp32" ? "" : " (the plan is for \(dtype); ranks compute in fp32)"
    let comparison = verification > .zero ? ", and \(verification) more for comparing with one rank" : ""
    let remedy = verification > .zero && bytes <= available ? "leave out --verify, " : ""
    return "the plan's \(counted(ranks, "rank")) on this machine \(ranks == 1 ? "needs" : "need") \(bytes) for tensors\(format)\(comparison);"
      + " \(available) of its memory is available; \(remedy)search a plan for a smaller --batch or --seq, or spread the ranks over machines"
      + " with --hostfile"
  }
}
