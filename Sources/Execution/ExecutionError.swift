// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

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
    case .outOfMemory(let bytes):
      "\(bytes) bytes of memory could not be allocated; use more ranks or smaller micro-batches"
    case .wrongRankCount(let planned, let found):
      "the plan is for \(planned) ranks, and \(found) were started; start it with mpirun -n \(planned)"
    }
  }
}
