// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Lowering
import TestSupport
import Testing

@testable import Plans

@Suite struct MutationTests {
  /// An edit, and what the message must name.
  struct Case: CustomTestStringConvertible, Sendable {
    let name: String
    let message: String
    let edit: @Sendable (inout JSON) -> Void
    var testDescription: String { name }

    init(_ name: String, message: String, edit: @escaping @Sendable (inout JSON) -> Void) {
      self.name = name
      self.message = message
      self.edit = edit
    }
  }

  static let cases = [
    Case("another version", message: "$.format") { $0.set(["format"], "tpplan/plan/2") },
    Case("a key too many", message: "$.meshes") { $0.set(["meshes"], [2]) },
    Case("a model changed by hand", message: "$.model.sha256") { $0.set(["model", "document", "name"], "other") },
    Case("hardware changed by hand", message: "$.hardware.sha256") { $0.set(["hardware", "document", "source"], "elsewhere") },
    Case("another model with its own hash", message: "$.job.batch: 8 sequences are not 2 micro-batches of the model's 2") {
      $0.set(["model", "document", "axes", 0, "extent"], 2)
      $0.rehash()
    },
    Case("another sequence length", message: "$.job.sequence") { $0.set(["job", "sequence"], 16) },
    Case("more devices than there are", message: "$.mesh") {
      $0.set(["hardware", "document", "groups", 0, "nodes"], 1)
      $0.set(["hardware", "document", "levels", 1, "joins"], 1)
      $0.rehash()
    },
    Case("a number format that the devices lack", message: "$.job.dtype: found \"fp8\", but the device \"a100-40\" has a peak rate only for") {
      $0.set(["job", "dtype"], "fp8")
    },
    Case("a bound above the objective", message: "$.certificate.lower_bound_seconds: found the number 99, expected at most the objective") {
      $0.set(["certificate", "lower_bound_seconds"], .double(99))
    },
    Case("a proof that is none", message: "$.certificate.lower_bound_seconds") { $0.set(["certificate", "lower_bound_seconds"], .double(1e-6)) },
    Case("another step than was proven", message: "$.certificate.objective_seconds") { $0.set(["predicted", "step_seconds"], .double(0.5)) },
    Case("a mesh too few", message: "$.stage_meshes: there are 3 meshes for 2 stages; each stage needs one") {
      $0.set(["stage_meshes"], [[2, 2], [4], [2]])
    },
    Case("meshes that are all alike", message: "$.stage_meshes") { $0.set(["stage_meshes"], [[2, 2], [2, 2]]) },
    Case("another first mesh", message: "$.stage_meshes") { $0.set(["stage_meshes"], [[4], [2, 2]]) },
    Case("meshes beyond counting", message: "$.stage_meshes") { $0.set(["stage_meshes"], [[2, 2], [1_048_576]]) },
    Case("a segment on two meshes", message: "is on stage 0 too, which has another mesh") { $0.set(["stage_meshes"], [[2, 2], [4]]) },
    Case("another size of a stage", message: "$.stages[1].devices: found the number 4, expected 2") { $0.set(["stage_meshes"], [[2, 2], [2]]) },
    Case("no mesh", message: "$.mesh") { $0.set(["mesh"], []) },
    Case("a mesh beyond counting", message: "$.mesh") { $0.set(["mesh"], [1_048_576, 1_048_576, 1_048_576, 1_048_576]) },
    Case("a split of attention's keys", message: "].assignment[1]: found the string \"head_dim\"") { plan in
      for index in 0..<64 where plan.get(["operators", .index(index), "name"]) == "transformer.h.{i}.attn.core" {
        plan.set(["operators", .index(index), "assignment", 1], "head_dim")
      }
    },
    Case("a layout that the assignment does not give", message: "$.operators[0].result.layout: found") {
      $0.set(["operators", 0, "result", "layout"], "S1,S1")
    },
    Case("a copy on no stage", message: "$.stages") { $0.drop(["stages", 1, "units", 0]) },
    Case("a copy on two stages", message: "$.stages[1].units[0].first_copy") { $0.set(["stages", 1, "units", 0, "first_copy"], 0) },
    Case("a stage too few", message: "$.stages: no stage holds") { $0.drop(["stages", 1]) },
    Case("a conversion too few", message: "no conversion of") { $0.drop(["conversions", 0]) },
    Case("a conversion twice", message: "$.conversions[1]") { plan in
      if let first = plan.get(["conversions", 0]) { plan.set(["conversions", 1], first) }
    },
    Case("a conversion that goes elsewhere", message: "$.conversions[0].steps") { $0.set(["conversions", 0, "steps"], []) },
    Case("a step that the layout does not allow", message: "$.conversions[0].steps[0]") {
      $0.set(["conversions", 0, "steps", 0], ["kind": "all-to-all", "axes": [0], "from_dimension": 1, "to_dimension": 9])
    },
    Case("a total that is no sum", message: "$.predicted.stages[0].memory.total_bytes") {
      $0.set(["predicted", "stages", 0, "memory", "total_bytes"], 1)
    },
    Case("an order whose chunks are unequal", message: "$.zigzag_pairs.seq: found the number 3, expected a number p such that 2p divides") {
      $0.set(["zigzag_pairs"], ["seq": 3])
    },
    Case("an order of an axis that is no sequence", message: "$.zigzag_pairs.hidden") { $0.set(["zigzag_pairs"], ["hidden": 2]) },
    Case("a figure that is no number", message: "$.predicted.step_seconds") { $0.set(["predicted", "step_seconds"], "fast") },
  ]

  @Test("Each edit is refused with the path of what is wrong", arguments: cases)
  func refused(_ edit: Case) throws {
    let plan = try tinyPipeline()
    let document = edited(plan, edit.edit)
    #expect {
      _ = try PlanFile.decode(document)
    } throws: {
      "\($0)".hasPrefix("plan.json: ") && "\($0)".contains(edit.message)
    }
  }

  static let interleavedCases = [
    Case("interleaved without its chunks", message: "$: the key \"chunks\"") { $0.drop(["chunks"]) },
    Case("one chunk", message: "$.chunks") { $0.set(["chunks"], 1) },
    Case("more chunks than stages hold", message: "$.stages: found an array of 4, expected 3 chunks on each of two or more groups") {
      $0.set(["chunks"], 3)
    },
    Case("all chunks on one group", message: "$.stages: found an array of 4, expected 4 chunks on each of two or more groups") {
      $0.set(["chunks"], 4)
    },
    Case("a chunk on other devices", message: "$.stages[2].first_device") { $0.set(["stages", 2, "first_device"], 8) },
    Case("chunks under another schedule", message: "$.stages[2].first_device") { $0.set(["schedule"], "1f1b") },
    Case("micro-batches that the stages do not divide", message: "$.job.micro_batches: 1 are no multiple of the 2 groups") {
      $0.set(["job", "micro_batches"], 1)
      $0.set(["job", "batch"], 4)
    },
    Case("interleaved forward", message: "$.schedule") { $0.set(["job", "mode"], "forward") },
  ]

  @Test("Each edit of an interleaved plan is refused with the path of what is wrong", arguments: interleavedCases)
  func refusedInterleaved(_ edit: Case) throws {
    let document = edited(try tinyInterleaved(), edit.edit)
    #expect {
      _ = try PlanFile.decode(document)
    } throws: {
      "\($0)".hasPrefix("plan.json: ") && "\($0)".contains(edit.message)
    }
  }

  /// 300 mutations: half of them with the hashes made right again, so that they reach what lies behind.
  @Test("Differential: a mutated plan is refused, or can be lowered and written again", arguments: 0..<30)
  func mutated(seed: Int) throws {
    let base = PlanFile.encode(try seed % 2 == 0 ? tinyPipeline() : tinyInterleaved())
    var generator = SeededGenerator(seed: seed)
    for round in 0..<10 {
      var json = base
      for _ in 0..<Int.random(in: 1...3, using: &generator) { json.mutate(&generator) }
      if round % 2 == 0 { json.rehash() }
      guard let plan = try? PlanFile.decode(Document(file: "plan.json", value: json)) else { continue }
      let rank = Int.random(in: 0..<plan.decision.ranks, using: &generator)
      #expect(!Lowering.program(for: plan.decision, rank: rank).instructions.isEmpty)
      #expect(try PlanFile.decode(Document(file: "again.json", value: PlanFile.encode(plan))) == plan)
    }
  }
}
