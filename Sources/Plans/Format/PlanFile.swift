// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// The format `tpplan/plan/1`: a plan as JSON that a person and other tools can read.
///
///     {"format": "tpplan/plan/1",
///      "job": {"batch": 64, "micro_batches": 8, "sequence": 1024, "mode": "train", "optimizer": "adamw", "dtype": "bf16"},
///      "mesh": [2, 2], "schedule": "1f1b",
///      "stages": [{"first_device": 0, "devices": 4, "units": [{"segment": "embeddings", "first_copy": 0, "copies": 1}, …]}, …],
///      "operators": [
///        {"name": "transformer.h.{i}.mlp.c_fc", "strategy": "data,column", "assignment": ["batch", "ffn"],
///         "operands": [{"tensor": "transformer.h.{i}.ln_2", "layout": "S0,R", "gradient": "S0,P"}, …],
///         "result": {"tensor": "transformer.h.{i}.mlp.c_fc", "layout": "S0,S2", "gradient": "S0,S2"},
///         "predicted": {"forward_seconds": …, "backward_seconds": …, "communication_seconds": …, "resident_bytes": …, "kept_bytes": …}}, …],
///      "conversions": [{"tensor": …, "from": "S0,P", "to": "S0,R", "steps": [{"kind": "all-reduce", "axes": [1]}]}, …],
///      "predicted": {"step_seconds": …, "stages": […], "collectives": […], …},
///      "certificate": {"status": "optimal", "gap_fraction": 0, …},
///      "assumptions": […],
///      "model": {"source_sha256": …, "sha256": …, "document": {"format": "tpplan/model/1", …}},
///      "hardware": {"source_sha256": …, "sha256": …, "document": {"format": "tpplan/hardware/1", …}}}
///
/// - A mesh has one extent per axis, outermost first; stage s has devices s·n ..< (s+1)·n, n being the product of the extents.
/// - `stage_meshes`, where it is there, gives each stage a mesh of its own, `[[2, 4], [8]]`; `mesh` is then the first stage's. Each stage has the devices
///   that follow those of the stages before it, a segment is on stages of one mesh, and an assignment, or a layout, is one on the mesh of its segment.
///   What passes between two meshes is sent box by box, from the layout in which it is produced to those in which it is read, and needs no conversion.
/// - The schedule `interleaved` has a further key, `chunks`: `stages` then lists the chunks of all p groups of devices in the model's order, and the
///   k-th has the devices of group k mod p.
/// - A layout has one placement per mesh axis: `R` replicated, `S1` split on the tensor's dimension 1, `P` partial (a sum over ranks is due).
/// - `assignment` names for each mesh axis the axis of the operator's loops that it splits, or is null; `strategy` and the layouts follow
///   from it and are there for readers. They are checked when a plan is read, as are `first_device`, `devices`, totals and `gap_fraction`.
/// - `conversions`: how a tensor gets from one layout into another, each listed once however many readers use it. A step's `dimension` is the
///   one that is gathered, scattered to or sliced; an all-to-all has `from_dimension` and `to_dimension`.
/// - `model.document` is the model with the extents of one micro-batch. `sha256` is that of the canonical bytes of `document`;
///   `source_sha256` that of the file that it was read from.
/// - `batch_shares`, where it is there, gives the samples of a micro-batch that each rank along the mesh's outermost axis of several devices has, `[5, 5, 3, 3]`:
///   what is split along the batch there is cut so, and all else evenly. The plan has one stage.
/// - `idle`, where it is there, names devices that were given too but stay idle: `{"first_device": 12, "devices": 1}`. They come after the plan's.
/// - Keys end in their unit. Order matters in every array; keys are sorted and numbers have one spelling, so equal plans are equal bytes.
///   No wall-clock time is kept.
///
/// Decoding checks that lowering can carry the plan out, so that reading an edited plan ends in an error that names the place and never in a
/// crash; predicted figures are taken as they stand.
package enum PlanFile {
  /// The value of the key `format`.
  package static let format = "tpplan/plan/1"

  /// Reads and checks a plan; `-` is standard input.
  ///
  /// - Throws: `DocumentError` (not readable, not of this format), `ModelError` and `HardwareError` (in an embedded document),
  ///   `PlanError` (parts that do not fit together).
  package static func read(_ path: String) throws -> Plan { try decode(Document(readingFrom: path)) }

  /// Writes a plan, whole or not at all; `-` is standard output.
  /// - Throws: `DocumentError.unwritable`.
  package static func write(_ plan: Plan, to path: String) throws(DocumentError) {
    try atomicWrite(encode(plan).prettyBytes, to: path)
  }
}
