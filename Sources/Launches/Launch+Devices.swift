// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities

extension Launch {
  /// The launch with its data-parallel degree and its batch, where these follow from the number of devices.
  ///
  /// - Throws: `PlannerError.usage` where the other degrees do not divide the devices.
  package func settled(on count: Int) throws -> Launch {
    var launch = self
    launch.devices = count
    if leavesTensorOpen { (launch.degrees.tensor, launch.leavesTensorOpen) = (count, false) }
    if leavesDataOpen, degrees.stageMeshes == nil {
      let others = degrees.tensor * degrees.pipeline * degrees.context
      guard count % others == 0 else {
        throw PlannerError.usage(
          "\(counted(count, "device")): the launch's other degrees are \(others) together (tensor \(degrees.tensor), pipeline \(degrees.pipeline), context "
            + "\(degrees.context)), which does not divide them")
      }
      (launch.degrees.data, launch.leavesDataOpen) = (count / others, false)
    }
    if batch == nil { launch.batch = batchPerReplica.map { $0 * launch.degrees.data } }
    if degrees.microBatchSize == nil, let batch = launch.batch, let steps = accumulationSteps {
      let parts = steps * launch.degrees.data
      guard batch % parts == 0 else {
        throw PlannerError.usage("a batch of \(batch) is not \(counted(steps, "micro-batch", plural: "micro-batches")) for each of \(counted(launch.degrees.data, "replica"))")
      }
      launch.degrees.microBatchSize = batch / parts
    }
    // Where no devices hold the same weights for different data there is nothing to share out.
    if launch.degrees.data * launch.degrees.context == 1 {
      launch.degrees.zero = .none
      launch.software.overlap = .none
    }
    return launch
  }
}
