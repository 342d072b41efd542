// SPDX-License-Identifier: GPL-3.0-or-later

/// A dense identifier of an axis in its graph.
package typealias AxisID = Int
/// A dense identifier of a tensor in its graph.
package typealias TensorID = Int
/// A dense identifier of an operator in its graph.
package typealias OperatorID = Int
/// A dense identifier of a segment in its graph.
package typealias SegmentID = Int

/// A named iteration space that tensor dimensions refer to: `batch`, `seq`, `hidden`, `kv_heads`, `vocab` …
///
/// Two dimensions of one axis are aligned: splitting one in parts and splitting the other in as many gives matching parts.
package struct Axis: Hashable, Sendable {
  /// What an axis stands for. It gives a split its common name (data, sequence, heads, vocabulary …) and says which axes follow
  /// the workload instead of the model.
  package enum Role: String, Sendable, CaseIterable {
    /// Samples of one micro-batch.
    case batch
    /// Positions in a sequence.
    case sequence
    /// Positions whose number the model fixes: the patches of an image, the latents of a resampler.
    case patches
    /// The samples of the micro-batch once more, as the other side of a pairing: as many as `batch`, and never cut.
    case candidates
    /// Groups of query heads that share one key-value head.
    case heads
    /// Query heads in one group.
    case queries
    /// Entries of a vocabulary (or classes of a classifier).
    case vocabulary
    /// The experts of a layer of which each token visits a few.
    case experts
    /// The places that one expert has for the tokens of one sequence; its extent follows the sequence's (`Axis.Slots`).
    case slots
    /// Anything else that a matrix product produces or consumes.
    case feature
    /// An axis that is never cut: the inside of a head, the token pieces of an image patch.
    case whole

    /// Whether ranks that share it out split a sequence.
    package var isPosition: Bool { self == .sequence || self == .patches }
  }

  /// What the extent of an axis of role `slots` follows: the positions of a sequence, each sent to `perToken` of the experts.
  ///
  /// Places are counted under balanced routing, ⌈positions × perToken / experts⌉ for each expert and sequence: no token is dropped, and there is
  /// no capacity factor. A part of the positions has the same part of the places, so both axes are cut alike.
  package struct Slots: Hashable, Sendable {
    package var positions: AxisID
    package var experts: AxisID
    package var perToken: Int

    package init(positions: AxisID, experts: AxisID, perToken: Int) {
      self.positions = positions
      self.experts = experts
      self.perToken = perToken
    }

    /// The number of places that the extents of these axes give.
    func extent(in axes: [Axis]) -> Int {
      let (routes, experts) = (axes[positions].extent * perToken, axes[experts].extent)
      return (routes + experts - 1) / experts
    }
  }

  package var name: String
  package var extent: Int
  package var role: Role
  /// Set for the role `slots`, and for no other.
  package var slots: Slots?

  package init(name: String, extent: Int, role: Role, slots: Slots? = nil) {
    self.name = name
    self.extent = extent
    self.role = role
    self.slots = slots
  }

  /// The axis without its name: what two tensors on either side of a seam must agree in.
  var unnamed: Axis { Axis(name: "", extent: extent, role: role) }
}
