// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Report
import Testing

@testable import tpplan

@Suite struct TextFittingTests {
  private let narrow = TextStyle(isEmphatic: false, columns: 80)

  /// What is printed, without the places where lines end, and the hyphens there.
  private func letters(_ lines: [String]) -> [Character] { lines.joined().filter { $0 != " " && $0 != "-" }.sorted() }

  @Test(
    "What inspect prints of a plan fits 80 columns, and says all that it says without a limit",
    arguments: ["bert-base-ethernet-4", "gpt2-dgx-a100-8", "llama-3-8b-derecho-8", "mlp-dgx-a100-4"])
  func plans(name: String) throws {
    let report = try PlanReport(try PlanFile.read("\(packageFolder)/plans/\(name).json"))
    let (wide, fitted) = (report.lines(.plain), report.lines(narrow))
    #expect(fitted.allSatisfy { $0.count <= 80 })
    #expect(letters(wide) == letters(fitted))
    // Colours change nothing but how it looks.
    let coloured = report.lines(TextStyle(isEmphatic: true, columns: 80))
    #expect(coloured.contains { $0.contains("\u{1B}[") } && coloured.allSatisfy { $0.visibleCount <= 80 })
    #expect(coloured.map { $0.replacing(/\u{1B}\[[0-9;]*m/, with: "") } == fitted)
  }

  @Test("So does the program of a rank")
  func program() throws {
    let report = try ProgramReport(try tinyPipeline(), rank: 5)
    let (wide, fitted) = (report.lines(.plain), report.lines(narrow))
    #expect(fitted.allSatisfy { $0.count <= 80 } && letters(wide) == letters(fitted) && fitted.count > wide.count)
  }

  @Test("Cells are broken between words, then where names may be, and numbers not at all")
  func cells() {
    #expect(TextTable.Cell("partial sums of mlp.c_proj").wrapped(to: 12) == ["partial sums", "of", "mlp.c_proj"])
    #expect(TextTable.Cell("block_sparse_moe.experts.w1").wrapped(to: 17) == ["block_sparse_moe.", "experts.w1"])
    #expect(TextTable.Cell("abcdefghijkl").wrapped(to: 5) == ["abcde", "fghij", "kl"])
    var table = TextTable([("name", .left), ("of it comm.", .right), ("why", .left)])
    table.add("transformer.h.attn", "12.3 ms", "partial sums of a product")
    table.add("loss", "1.23 s", "")
    #expect(
      table.lines(indent: 2, TextStyle(isEmphatic: false, columns: 40)) == [
        "  name             of it  why",
        "                   comm.",
        "  transformer.   12.3 ms  partial sums",
        "  h.attn                  of a product",
        "  loss            1.23 s",
      ])
  }

  @Test("Where numbers leave no room, gaps are one space, and headings are broken at soft hyphens")
  func numbers() {
    var table = TextTable([("stage", .right), ("activa\u{AD}tions", .right), ("total", .right)])
    table.add("0", "12.5 GiB", "33.4 GiB")
    #expect(table.lines(indent: 0) == ["stage  activations     total", "    0     12.5 GiB  33.4 GiB"])
    #expect(
      table.lines(indent: 0, TextStyle(isEmphatic: false, columns: 25)) == [
        "stage   activa-     total", "          tions", "    0  12.5 GiB  33.4 GiB",
      ])
    #expect(
      table.lines(indent: 0, TextStyle(isEmphatic: false, columns: 23)) == ["stage  activa-    total", "         tions", "    0 12.5 GiB 33.4 GiB"])
  }

  @Test("Lines go on further in; words that are longer than a line are cut, and no word is lost")
  func sentences() {
    let style = TextStyle(isEmphatic: false, columns: 20)
    #expect(style.fit("  one two three four five six") == ["  one two three four", "    five six"])
    #expect(style.fit("  short") == ["  short"])
    #expect(style.fit("a " + String(repeating: "x", count: 45)).allSatisfy { $0.count <= 20 })
    #expect(TextStyle.plain.fit(String(repeating: "word ", count: 40)).count == 1)
  }
}
