// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Testing

@testable import Launches

/// What `lint` says of launches of these formats.
@Suite struct FormatLintTests {
  private func job(_ name: String, _ format: LaunchFormat, _ graph: Graph, devices: Int, batch: Int? = nil) throws -> LaunchJob {
    let launch = try format.read(Array(LaunchFixtures.text(name).utf8), file: name, model: graph)
    return try LaunchJob(launch, graph: graph, on: Samples.hardware("dgx-a100"), devices: devices, batch: batch, sequence: 64)
  }

  @Test(
    "Every change has words, in the program's own terms",
    arguments: [("deepspeed-zero3.json", LaunchFormat.deepspeed), ("torchtitan-llama3_8b.toml", .torchtitan), ("tp-plan-llama.json", .huggingFace)])
  func changes(name: String, format: LaunchFormat) throws {
    let graph = try LaunchFixtures.llama(layers: 4, heads: 4, keyValueHeads: 4)
    let (changes, isComplete) = try job(name, format, graph, devices: 4, batch: format == .huggingFace ? 8 : nil).changes()
    #expect(isComplete && !changes.isEmpty)
    for change in changes { #expect(!change.text.isEmpty, "\(change.degrees)") }
    #expect(Set(changes.map(\.text)).count == changes.count, "\(changes.map(\.text))")
  }

  @Test(
    "The format of a published launch is recognised", arguments: ["deepspeed-zero3.json", "transformers-zero3.json", "deepspeed-gpt2-zero2.json"])
  func deepspeed(name: String) throws { #expect(LaunchFormat(recognising: try LaunchFixtures.text(name)) == .deepspeed) }

  @Test("So are jobs and plans of styles")
  func others() throws {
    for name in ["llama3_8b", "llama3_405b", "llama3_70b-2024", "debug_model"] {
      #expect(LaunchFormat(recognising: try LaunchFixtures.text("torchtitan-\(name).toml")) == .torchtitan)
    }
    for name in ["llama", "mixtral", "phi3"] { #expect(LaunchFormat(recognising: try LaunchFixtures.text("tp-plan-\(name).json")) == .huggingFace) }
  }
}
