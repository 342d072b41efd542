// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

extension MPIRuns {
  /// The table of strategies × models × ranks, which has no hole: each cell runs, or says why it cannot.
  ///
  /// With the variable TPPLAN_RECORD=1 the cells and Documentation/strategies.md are written again; then look at `git diff`.
  struct StrategyTableTests {
    static let models = ["gpt2", "llama", "gemma", "gpt_neox", "bert", "vit", "clip", "flamingo", "mixtral", "qwen2_moe", "resnet"]
    static let ranks = [1, 2, 4, 8]
    static let isRecording = ProcessInfo.processInfo.environment["TPPLAN_RECORD"] == "1"

    /// Each cell that runs trains five steps with one rank's losses; in the first of them every result and gradient is compared with one rank's, and
    /// the traffic with the program's; and programs must split and communicate as the strategy means.
    @Test("golden: a model's cells run under every strategy, and equal one rank, or cannot for the reason that is known", arguments: models)
    func cells(model: String) throws {
      var rows: [String] = []
      for ranks in Self.ranks {
        let probe = try ProbeRun(ranks: ranks, ["table", model])
        #expect(probe.diagnostics == [])
        let cells: [(row: String, text: String)] = try probe.ranks[0].map { line in
          let parts = line.split(separator: "\t").map(String.init)
          return (parts[0], parts.last ?? "")
        }
        #expect(cells.filter { $0.text.hasPrefix("WRONG") }.map { "\(ranks) ranks, \($0.row): \($0.text)" } == [])
        if rows.isEmpty { rows = cells.map(\.row) }
        #expect(rows.count == cells.count)
        for (row, cell) in cells.enumerated() where row < rows.count { rows[row] += "\t" + cell.text }
      }
      let text = rows.joined(separator: "\n") + "\n"
      if Self.isRecording { try Data(text.utf8).write(to: URL(filePath: Self.golden(model))) }
      #expect(text == (try String(contentsOfFile: Self.golden(model), encoding: .utf8)))
    }

    @Test("golden: the table in Documentation/strategies.md is the cells that the tests run")
    func document() throws {
      let text = try StrategyDocument(models: Self.models, ranks: Self.ranks) { try String(contentsOfFile: Self.golden($0), encoding: .utf8) }.text
      let path = Self.path("../../../Documentation/strategies.md")
      if Self.isRecording { try Data(text.utf8).write(to: URL(filePath: path)) }
      #expect(text == (try String(contentsOfFile: path, encoding: .utf8)))
    }

    private static func golden(_ model: String) -> String { path("../Golden/strategies/\(model).txt") }

    private static func path(_ name: String) -> String {
      URL(filePath: #filePath).deletingLastPathComponent().appending(path: name).standardized.path
    }
  }
}

/// The table for people.
struct StrategyDocument {
  let models: [String]
  let ranks: [Int]
  /// For each model and strategy, what is said for each number of ranks.
  private let cells: [[[String]]]
  private let strategies: [String]

  init(models: [String], ranks: [Int], _ lines: (String) throws -> String) throws {
    self.models = models
    self.ranks = ranks
    let rows = try models.map { try lines($0).split(separator: "\n").map { $0.split(separator: "\t").map(String.init) } }
    cells = rows.map { $0.map { Array($0.dropFirst()) } }
    strategies = rows.first?.map { $0[0] } ?? []
    for model in rows where model.map({ $0[0] }) != strategies { throw StrategyDocumentError() }
  }

  struct StrategyDocumentError: Error {}

  var text: String {
    var lines = Self.introduction
    lines.append("| strategy | " + models.joined(separator: " | ") + " |")
    lines.append("|---|" + models.map { _ in "---|" }.joined())
    for (row, strategy) in strategies.enumerated() {
      lines.append("| \(strategy) | " + models.indices.map { cell($0, row) }.joined(separator: " | ") + " |")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// The ranks that run, and why others that are enough do not.
  private func cell(_ model: Int, _ row: Int) -> String {
    let all = zip(ranks, cells[model][row])
    let run = all.filter { $0.1 == "run" }.map { "\($0.0)" }
    // That a mesh needs more ranks is seen from the numbers that are there.
    var reasons: [String] = []
    for (_, reason) in all where reason != "run" && !reason.hasSuffix(" ranks") && !reasons.contains(reason) { reasons.append(reason) }
    return (run.isEmpty ? reasons : [run.joined(separator: " ")] + reasons.map { "(\($0))" }).joined(separator: " ")
  }

  private static let introduction = """
    # Strategies that are tested

    For each strategy and model the numbers of ranks, of 1, 2, 4 and 8, on which a tiny model of that kind is trained in the tests. Every one
    of these runs takes five steps, with AdamW or SGD, whose losses are those of one rank to 10⁻⁵. In the first step each operator's result and each
    gradient is compared with one rank's, and what each rank sends with what its program says; and the programs must have the splits and
    the communication that the strategy is named after. `forward` rows run one step forward.

    Where a number is missing there are too few ranks for the strategy's mesh and stages, or a word says what the model lacks:

    - `no heads`, `no context`, … : no operator of the model has anything to split so.
    - `fixed order`: positions stay in their order, since attention sees all of them, or other operators need their neighbours.
    - `pairs samples`: the loss pairs all samples of a batch, so that a step has one micro-batch, evenly shared out.

    `×` joins axes of a mesh. *Tensor* is Megatron's column and row, heads and vocabulary; *tensor × tensor* cuts each weight along both of its dimensions;
    *context* splits the sequence, with keys and values gathered, around a ring, or with attention by heads between (Ulysses). *Uneven extents* are widths,
    heads, vocabularies, sequences and batches that the ranks do not divide; with *uneven batch shares* ranks take unequal numbers of samples.
    Pipelines have a stage for every rank where they have no other axis, interleaved four at most, of two chunks each, and two stages otherwise;
    *stages of unlike size* have a quarter and three quarters of the ranks. The words are those of [plans](plan-format.md).

    """.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
}
