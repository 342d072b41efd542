// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Planner
import Strategies

/// What another program's launch says of a training: its split, its job, and the model where it says that too. What it leaves open is nil.
package struct Launch: Sendable {
  package var format: LaunchFormat
  /// The degrees; the data-parallel one follows from the devices where `leavesDataOpen`.
  package var degrees = MegatronDegrees()
  /// Whether the chunks of a stage are said by how many layers each has, not by their number.
  package var countsLayersOfChunks = false
  /// Whether data parallelism takes whatever devices the other degrees leave.
  package var leavesDataOpen = true
  /// Whether tensor parallelism does.
  package var leavesTensorOpen = false
  /// What modules do on the tensor axis, by name patterns, where the launch says that itself; nil: as Megatron-LM does.
  package var styles: [ModuleStyle]?
  /// What every operator does, where the launch says that itself: a script's tables.
  package var script: TorchLaunch?
  /// All devices that are launched on.
  package var devices: Int?
  /// What their number follows from and the launch leaves to its caller, with the options that give it; nil where it leaves nothing.
  package var openDevices: String?
  package var batch: Int?
  /// The samples of a step that each data replica has, where the launch says that instead of the batch.
  package var batchPerReplica: Int?
  /// The micro-batches of a step, where the launch says that instead of their size.
  package var accumulationSteps: Int?
  package var sequence: Int?
  package var precision: Precision?
  package var mode: Mode?
  package var optimizer: OptimizerKind?
  package var software = Software()
  /// The model that the launch describes by itself.
  package var graph: Graph?
  /// Where it describes one that cannot be built, or not all of one, why.
  package var graphObstacle: String?
  /// Settings that move a part of what is in the devices' memory elsewhere, which has no price.
  package var offloading: [String] = []
  package var findings: [Finding] = []
  /// Variables of a script that have to be given before it says what is trained, and how.
  package var openVariables: [String] = []
  /// What it was read from; nil where nothing of it can be written otherwise by itself.
  package var source: LaunchSource?

  package init(_ format: LaunchFormat) { self.format = format }
}

/// What the modules of a name do on the tensor axis.
package struct ModuleStyle: Hashable, Sendable {
  /// With `*` for any part of a name: `model.layers.*.self_attn.q_proj`.
  package var pattern: String
  /// As the program names it: `colwise`.
  package var style: String

  package init(_ pattern: String, _ style: String) { (self.pattern, self.style) = (pattern, style) }
}

/// A plan that a format cannot express, or not in this way.
package struct Inexpressible: Error, CustomStringConvertible {
  /// The layer, operator or stage that it is about.
  package var place: String
  package var reason: String

  package init(_ place: String, _ reason: String) { (self.place, self.reason) = (place, reason) }

  package var description: String { "\(place): \(reason)" }
}
