// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// Stages, and their chunks.
extension MegatronChecks {
  private static let cuts = [
    "--num-layers-per-virtual-pipeline-stage", "--num-virtual-stages-per-pipeline-rank", "--pipeline-model-parallel-layout",
  ]

  mutating func checkLayers() {
    let given = Self.cuts.filter(arguments.has)
    if given.count > 1 { illegal(given[1], "does not go with \(given[0]); leave one of them out") }
    guard let layers = arguments.int("--num-layers"), !arguments.has("--pipeline-model-parallel-layout") else { return }
    let (first, last) = ("--decoder-first-pipeline-num-layers", "--decoder-last-pipeline-num-layers")
    let accounts = ["--account-for-embedding-in-pipeline-split", "--account-for-loss-in-pipeline-split"].filter(arguments.has)
    if arguments.has(any: first, last) {
      let name = arguments.has(first) ? first : last
      if let account = accounts.first { illegal(name, "does not go with \(account)") }
      if arguments.has("--num-layers-per-virtual-pipeline-stage") {
        illegal(name, "does not go with --num-layers-per-virtual-pipeline-stage; say --num-virtual-stages-per-pipeline-rank")
      }
      let ends = (arguments.int(first, atLeast: 0) ?? 0) + (arguments.int(last, atLeast: 0) ?? 0)
      let inner = stages - [first, last].count { arguments.has($0) }
      if ends > layers || (inner > 0 && (layers - ends) % inner != 0) || (inner <= 0 && ends != layers) {
        illegal(name, "\(max(0, layers - ends)) layers are left for \(counted(max(0, inner), "stage")), which cannot have equally many")
      }
      return
    }
    let total = layers + accounts.count
    if total % stages != 0 {
      let what = accounts.isEmpty ? "layers" : "layers, with the embedding or the loss counted as one,"
      illegal(
        "--num-layers",
        "\(total) \(what) are no multiple of --pipeline-model-parallel-size \(stages); say --decoder-first-pipeline-num-layers, or "
          + "--pipeline-model-parallel-layout \(Self.evenLayout(layers, stages))")
    } else if let perChunk = arguments.int("--num-layers-per-virtual-pipeline-stage"), (total / stages) % perChunk != 0 {
      illegal("--num-layers-per-virtual-pipeline-stage", "\(perChunk) layers do not divide the \(total / stages) of a stage")
    } else if let chunks = arguments.int("--num-virtual-stages-per-pipeline-rank"), (total / stages) % chunks != 0 {
      illegal("--num-virtual-stages-per-pipeline-rank", "\(chunks) chunks do not divide the \(total / stages) layers of a stage")
    }
  }

  private static func evenLayout(_ layers: Int, _ stages: Int) -> String {
    let counts = (0..<min(stages, 64)).map { ($0 + 1) * layers / stages - $0 * layers / stages }
    return "\"\(MegatronLayout(layers: counts).text)\""
  }

  mutating func checkChunks() {
    let chunks = launch.degrees.chunks
    let name = Self.cuts.first(where: arguments.has) ?? "--num-virtual-stages-per-pipeline-rank"
    let wanted = arguments.int("--num-virtual-stages-per-pipeline-rank") ?? 1
    if wanted > 1, stages == 1 {
      illegal("--num-virtual-stages-per-pipeline-rank", "several chunks need --pipeline-model-parallel-size of at least 2")
    }
    guard chunks > 1 else { return }
    if stages == 2, arguments.has("--no-overlap-p2p-communication") {
      illegal(
        "--no-overlap-p2p-communication", "several chunks on each of two stages need messages that overlap; leave it out, or have more than 2 stages")
    }
    guard let replicas, let batch = launch.batch, let part = launch.degrees.microBatchSize?.times(replicas), batch % part == 0 else { return }
    let count = batch / part
    if count % stages != 0 {
      illegal(
        name,
        "\(counted(count, "micro-batch", plural: "micro-batches")) are no multiple of the \(stages) stages, which the interleaved schedule needs")
    }
  }
}
