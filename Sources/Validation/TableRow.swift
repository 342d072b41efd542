// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// What a row of a validation table says of a run before anything of it was measured: sizes, the cluster, and the split. A key that is missing
/// was not published.
///
/// What was measured is no part of it (`PublishedFigures`), so that no price can depend on that.
package struct TableRow: Hashable, Sendable {
  package var id: String
  package var hardware: String?
  package var devices: Int?
  package var devicesPerNode: Int?
  /// 10⁹ parameters.
  package var parameters: Double?
  /// `gpt` or `llama`, where the row or its table says so.
  package var style: String?
  package var layers: Int?
  package var hidden: Int?
  package var heads: Int?
  package var keyValueHeads: Int?
  package var ffn: Int?
  package var experts: Int?
  package var expertsPerToken: Int?
  package var vocabulary: Int?
  package var sequence: Int?
  package var tensor: Int?
  package var pipeline: Int?
  package var data: Int?
  package var context: Int?
  package var expert: Int?
  package var chunks: Int?
  package var zero: Int?
  package var isSequenceParallel: Bool?
  package var recompute: String?
  package var batch: Int?
  package var microBatchSize: Int?
  package var microBatches: Int?
  package var precision: String?

  /// - Throws: `DocumentError` for a value of another type, or out of its range. Keys that the schema does not have are passed over: tables of
  ///   others have some of their own.
  init(decoding node: Node) throws(DocumentError) {
    let o = try node.object()
    let count = Bound.within(1, 1 << 40)
    func whole(_ key: String) throws(DocumentError) -> Int? { try o.intIfPresent(key, count) }
    id = try o.string("id")
    hardware = try o.stringIfPresent("hw")
    devices = try whole("gpus")
    devicesPerNode = try whole("gpus_per_node")
    parameters = try o.doubleIfPresent("params_B", .within(1e-9, 1e9))
    style = try o.stringIfPresent("style")
    layers = try whole("layers")
    hidden = try whole("hidden")
    heads = try whole("heads")
    keyValueHeads = try whole("kv_heads")
    ffn = try whole("ffn")
    experts = try whole("experts")
    expertsPerToken = try whole("experts_per_token")
    vocabulary = try whole("vocab")
    sequence = try whole("seq")
    tensor = try whole("tp")
    pipeline = try whole("pp")
    data = try whole("dp")
    context = try whole("cp")
    expert = try whole("ep")
    chunks = try whole("vpp")
    zero = try o.intIfPresent("zero", .within(0, 3))
    isSequenceParallel = try o.boolIfPresent("sp")
    recompute = try o.stringIfPresent("recompute")
    batch = try whole("gbs")
    microBatchSize = try whole("mbs")
    microBatches = try whole("nmicro")
    precision = try o.stringIfPresent("precision")
  }
}

/// What was measured of a row's run.
package struct PublishedFigures: Sendable {
  package var seconds: Double?
  /// A time that was worked out from another published figure by whoever wrote the table.
  package var derivedSeconds: Double?
  package var teraflops: Double?
  /// Which operations the rate counts, in the table's words.
  package var teraflopsKind: String?
  package var memoryGB: Double?
  package var ranOutOfMemory: Bool
  /// The members of the row that are measured, as they stand there, for printing beside a prediction.
  package var members: [(key: String, value: JSON)] = []

  /// The keys of results; all that begin with `x_` are taken for such too.
  package static let keys = ["iter_s", "tflops_gpu", "tok_s_gpu", "mem_gb", "oom", "mfu_pct", "hfu_pct"]

  package static func isResult(_ key: String) -> Bool { keys.contains(key) || key.hasPrefix("x_") }

  init(decoding node: Node) throws(DocumentError) {
    let o = try node.object()
    let figure = Bound.within(0.0, 1e15)
    func positive(_ key: String) throws(DocumentError) -> Double? { try o.doubleIfPresent(key, figure).flatMap { $0 > 0 ? $0 : nil } }
    seconds = try positive("iter_s")
    derivedSeconds = try positive("x_derived_iter_s")
    // Some tables mark runs that failed by a rate below zero.
    teraflops = try o.doubleIfPresent("tflops_gpu").flatMap { $0 > 0 ? $0 : nil }
    teraflopsKind = try o.stringIfPresent("tflops_kind")
    memoryGB = try positive("mem_gb")
    ranOutOfMemory = try o.boolIfPresent("oom") ?? false
    if case .object(let object) = node.value { members = object.members.filter { Self.keys.contains($0.key) }.map { ($0.key, $0.value) } }
  }
}
