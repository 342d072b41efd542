// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies
import Testing

@testable import Execution

extension MPIRuns {
  struct GenerationTests {
    @Test(
      "differential: text under any plan has the logits of one rank that reads all of it at once, without a cache",
      arguments: ["gpt2", "llama", "gemma", "gpt_neox", "mixtral", "qwen2_moe"],
      [(ranks: 1, seed: 3), (ranks: 2, seed: 7), (ranks: 4, seed: 17), (ranks: 6, seed: 23), (ranks: 8, seed: 29)])
    func anyPlan(model: String, run: (ranks: Int, seed: Int)) throws {
      let probe = try ProbeRun(ranks: run.ranks, ["generate", model, "\(run.seed)", "4"])
      try #require(probe.outcome == .finished(status: 0), "\(probe.outcome) \(probe.diagnostics)")
      #expect(try probe.ranks.flatMap { $0 } == [])
    }
  }
}

struct GenerationRequestTests {
  private func graph(positions: Int = 8) throws -> Graph {
    var model = GPT2Configuration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 1, sequence: 4), 1, 4, 2, 4)
    (model.vocabulary, model.positions) = (50, positions)
    return try model.graph()
  }

  @Test("models that generate, and what keeps others from it")
  func obstacles() throws {
    let graph = try graph()
    #expect(graph.generationObstacle == nil && graph.mostPositions == 8)
    var vision = ViTConfiguration()
    vision.workload = Workload(batch: 1, sequence: nil)
    #expect(try vision.graph().generationObstacle == "it reads no tokens")
    var bert = BertConfiguration()
    bert.workload = Workload(batch: 1, sequence: 4)
    #expect(try bert.graph().generationObstacle?.hasPrefix("no output of it has a number for each position") == true)
    let request = GenerationRequest(
      Decision(
        graph: graph, job: Job(batch: 1, microBatches: 1, sequence: 4, mode: .forward, optimizer: .adamw, precision: .fp32), mesh: [1],
        schedule: .gpipe, stages: [], assignments: [], conversions: []),
      parameters: .generated(seed: 1), prompts: [[1, 2], [3, 4, 5]], newTokens: 6)
    #expect(request.firstPositions == 2 && request.positions == 8)
    try request.check()
    for (change, words) in [
      ({ $0.newTokens = 7 }, "has 8 positions; a prompt of 3 tokens and 7 new ones take 9, since the last is not read again"),
      ({ $0.stop = 50 }, "token\": is 50; expected 0 to 49"),
      ({ $0.prompts[1][2] = 50 }, "prompt 1: input \"input_ids\": has the value 50; expected 0 to 49"),
    ] as [((inout GenerationRequest) -> Void, String)] {
      var wrong = request
      change(&wrong)
      #expect {
        try wrong.check()
      } throws: {
        "\($0)".contains(words)
      }
    }
  }

  @Test("worked by hand: positions of a first step and of all, the most likely token, and what a step reads")
  func steps() {
    let logits: [Float] = [1, 3, 3, -1, -2, -0.5]
    #expect(logits[..<3].likeliestToken == 1 && logits[3...].likeliestToken == 2)
    #expect(([0, 0] as [Float])[...].likeliestToken == 0)
    let current = CurrentTokens(samples: 2)
    current.set([[1, 2, 3], [4, 5]], positions: 1..<3)
    var values = [Int32](repeating: -1, count: 4)
    current.copy([0..<2, 0..<2], into: &values)
    #expect(values == [2, 3, 5, 0])
  }

  @Test("worked by hand: errors in proportion to the largest expected value; one that is no number is never passed over")
  func relativeErrors() {
    let (error, place) = RelativeError.worst([1, 2, 5], [1, 2.5, -4])
    #expect(error == 2.25 && place == 2)
    #expect(RelativeError.worst([0.5], [0], floor: 2).error == 0.25)
    #expect(RelativeError.worst([1, .nan, 9], [1, 1, 1]).error.isNaN && RelativeError.worst([.infinity], [.infinity]).error == 0)
  }
}
