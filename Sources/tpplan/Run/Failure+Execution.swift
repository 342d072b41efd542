// SPDX-License-Identifier: GPL-3.0-or-later
import Execution

extension ExecutionError: FailureReason {
  var failureCode: Int32 { Failure.code(of: self) }
}

extension Failure {
  static func code(of error: ExecutionError) -> Int32 {
    switch error {
    case .mpi, .messageTooLong, .outOfMemory, .lossNotFinite: 1
    case .notEnoughMemory: nothingFits
    case .mpirunNotFound, .cannotStart: Self.internal
    case .cannotRead, .malformedWeights, .noSuchTensor, .unusableTensor, .unusableInput, .cannotGenerate, .tooLongText, .unusableCheckpoint,
      .unusableHostfile,
      .tooFewSlots:
      Self.badInput
    case .cannotWrite: Self.cannotWrite
    case .document(let error): error.exitCode
    case .wrongRankCount: Self.usage
    }
  }
}
