// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities

extension Launch {
  /// Why the launch is none on a number of devices, with the settings that say so as options of the planner.
  ///
  /// - Parameter least: devices of which it needs a multiple, or those that it is for.
  func refusal(of count: Int, _ least: Int) -> String {
    let replica = degrees.devices / degrees.data
    if format == .deepspeed, !leavesDataOpen, count % replica == 0, let batch, let size = degrees.microBatchSize {
      let (steps, replicas) = (batch / (size * degrees.data), count / replica)
      return "--batch \(batch) is not --micro-batch \(size) × gradient_accumulation_steps \(steps) × \(counted(replicas, "data replica")) = "
        + "\(size.times(steps).times(replicas)); change one of them or --devices"
    }
    let parts = [("--tp", leavesTensorOpen ? 1 : degrees.tensor), ("--pp", degrees.pipeline), ("--cp", degrees.context)].filter { $0.1 > 1 }
    let words =
      format == .torch
      ? ["the axes of MESH"] : parts.map { "\($0.0) \($0.1)" } + (leavesDataOpen || degrees.data == 1 ? [] : ["\(degrees.data) data replicas"])
    return "\(counted(count, "device")) \(leavesDataOpen || leavesTensorOpen ? "are no multiple of" : "are not") \(least)"
      + (words.isEmpty ? "" : ", \(words.joined(separator: " × "))") + "; change them or --devices"
  }

  /// The launch with the degrees, the batch and the micro-batches that follow from the number of devices.
  ///
  /// - Parameter given: a batch in place of the launch's.
  /// - Throws: `PlannerError.usage` where the batch has no whole number of parts.
  /// - Precondition: the degrees that are not left open divide the devices.
  package func settled(on count: Int, batch given: Int? = nil) throws -> Launch {
    var launch = self
    launch.devices = count
    if leavesTensorOpen {
      launch.degrees.tensor = count / (degrees.devices / degrees.tensor)
    } else if leavesDataOpen {
      launch.degrees.data = count / (degrees.devices / degrees.data)
    }
    (launch.leavesTensorOpen, launch.leavesDataOpen) = (false, false)
    let data = launch.degrees.data
    launch.batch = given ?? batch ?? batchPerReplica.map { $0.times(data) }
    if degrees.microBatchSize == nil, let batch = launch.batch, let steps = accumulationSteps {
      let parts = steps.times(data)
      guard batch % parts == 0 else {
        throw PlannerError.usage(
          "a batch of \(batch) is not \(counted(steps, "micro-batch", plural: "micro-batches")) for each of \(counted(data, "replica"))")
      }
      launch.degrees.microBatchSize = batch / parts
    }
    // Where no devices hold the same weights for different data there is nothing to share out. The axis tp of a script may split samples.
    if data * degrees.context == 1, format != .megatron, format != .torch {
      launch.degrees.zero = .none
      launch.software.overlap = .none
    }
    return launch
  }
}
