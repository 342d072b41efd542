// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Plans
import Quantities
import Testing

@testable import Validation

/// Oracle: what one more layer costs, worked by hand, on devices whose kernels and links run at their bounds.
@Suite struct LayerTests {
  // Micro-batch, sequence, hidden, MLP width, heads, key-value heads, devices.
  private let b = 2.0
  private let s = 256.0
  private let h = 512.0
  private let f = 1408.0
  private let a = 8.0
  private let g = 4.0
  private let t = 4.0

  /// - Parameters:
  ///   - peak: TFLOPS; arithmetic takes no time where it is huge.
  ///   - link: GB/s of a device; messages take no time where it is huge.
  ///   - dispatch: µs in which the host hands over an operator.
  ///   - traits: further keys of the device's `efficiency`.
  private func difference(
    _ changes: KeyValuePairs<String, JSON?>, peak: Double = 1, link: Double = 1e12, dispatch: Double = 0, traits: String = "",
    _ figure: (Prediction) -> Double
  ) throws -> Double {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let hardware = """
      {"format": "tpplan/hardware/1", "name": "bare", "source": "none", "devices": {"d": {"peak_TFLOPS": {"bf16": \(peak)}, "memory_GiB": 1000,
      "memory_bandwidth_GBps": 1e12, "default_dtype": "bf16", "efficiency": {"gemm": 1, "memory": 1, "dispatch_us": \(dispatch)\(traits)}}}, "groups": [{"device": "d", "devices_per_node": 4, "nodes": 1}],
      "levels": [{"name": "l", "joins": 4, "bandwidth_GBps": \(link), "bandwidth_is": "per device, one direction", "latency_us": 0}]}
      """
    try Data(hardware.utf8).write(to: folder.appendingPathComponent("bare.json"))
    let figures = try [2, 3].map { layers in
      var row = JSON.Object([
        ("id", "r"), ("hw", "bare"), ("gpus", 4), ("layers", .int(layers)), ("hidden", 512), ("heads", 8), ("ffn", 1408), ("vocab", 1024),
        ("seq", 256), ("tp", 4), ("pp", 1), ("dp", 1), ("recompute", "none"), ("gbs", 2), ("mbs", 2), ("precision", "bf16"), ("style", "gpt"),
      ])
      for (key, value) in changes { row[key] = value }
      let table = try Tables.table(Tables.text([.object(row)]))
      let price = try RowPricer(HardwareShelf(folder: folder.path)).price(table)[0]
      return figure(try #require(price.prediction, "\(price.reason ?? "")"))
    }
    return figures[1] - figures[0]
  }

  private func isClose(_ found: Double, _ worked: Double, _ tolerance: Double = 1e-6) -> Bool { abs(found - worked) <= tolerance * abs(worked) }

  private static let llama: KeyValuePairs<String, JSON?> = ["style": "llama", "kv_heads": 4]

  // MARK: arithmetic

  /// Forward: 2bs·h·(4h + 2f) in products and 2bs²h in half a score matrix; backward the products twice, and attention 2½ times (five products for
  /// two).
  @Test("Operations of a GPT layer under tensor parallelism, without and with everything computed again")
  func operationsOfGPT() throws {
    let (products, attention) = (2 * b * s * h * (4 * h + 2 * f), 2 * b * s * s * h)
    let none = try difference([:]) { $0.step.value * 1e12 }
    #expect(isClose(none, (3 * products + 3.5 * attention) / t))
    let selective = try difference(["recompute": "selective"]) { $0.step.value * 1e12 }
    #expect(isClose(selective, (3 * products + 4.5 * attention) / t))
    let full = try difference(["recompute": "full"]) { $0.step.value * 1e12 }
    #expect(isClose(full, (4 * products + 4.5 * attention) / t))
  }

  /// Queries and output h² each, keys and values h²·g/a each, a gated MLP of three products.
  @Test("Operations of a Llama layer with grouped queries: under tensor and under data parallelism the same")
  func operationsOfLlama() throws {
    let (products, attention) = (2 * b * s * (h * h * (2 + 2 * g / a) + 3 * h * f), 2 * b * s * s * h)
    #expect(isClose(try difference(Self.llama) { $0.step.value * 1e12 }, (3 * products + 3.5 * attention) / t))
    let data: KeyValuePairs<String, JSON?> = ["style": "llama", "kv_heads": 4, "tp": 1, "dp": 4, "gbs": 8]
    #expect(isClose(try difference(data) { $0.step.value * 1e12 }, 3 * products + 3.5 * attention))
  }

  /// A GPT layer has 6 products, 6 biases, 2 norms, 2 residual sums, attention and GELU; backward each product is two.
  @Test("Where kernels are short, a layer takes the host's time for each operator, forward and backward")
  func dispatch() throws {
    let step = try difference([:], peak: 1e9, dispatch: 10) { $0.step.value }
    #expect(isClose(step, Double(18 + 18 + 6) * 10e-6, 1e-3), "\(step)")
    // Kernels that take longer make up for short ones: the work of the layer's products is longer than all hand-over.
    let long = try difference([:], peak: 1e-3, dispatch: 10) { $0.stages[0].forward.value }
    let none = try difference([:], peak: 1e-3) { $0.stages[0].forward.value }
    #expect(isClose(long, none, 1e-9), "\(long - none)")
  }

  @Test("A bias that its product adds is handed over in backward alone")
  func fusedBiases() throws {
    let step = try difference([:], peak: 1e9, dispatch: 10, traits: #", "fuses_bias": true"#) { $0.step.value }
    #expect(isClose(step, Double(18 - 6 + 18 + 6) * 10e-6, 1e-3), "\(step)")
  }

  /// A quarter of 1404 columns is 351, 702 bytes in 16 bits: no multiple of 16. Of the six products the two of the MLP have such rows.
  @Test("Products whose rows are no multiple of 16 bytes run at the part of the rate that the file says, forward and backward")
  func unalignedProducts() throws {
    let (attention, mlp, scores) = (2 * b * s * h * 4 * h, 2 * b * s * h * 2 * 1404, 2 * b * s * s * h)
    let narrow: KeyValuePairs<String, JSON?> = ["ffn": 1404]
    let step = try difference(narrow, traits: #", "gemm_unaligned": 0.25"#) { $0.step.value * 1e12 }
    #expect(isClose(step, (3 * (attention + 4 * mlp) + 3.5 * scores) / t))
    let even = try difference([:], traits: #", "gemm_unaligned": 0.25"#) { $0.step.value * 1e12 }
    #expect(isClose(even, try difference([:]) { $0.step.value * 1e12 }))
  }

  // MARK: messages

  /// An all-reduce moves 2(t−1)/t of its bytes, an all-gather and a reduce-scatter (t−1)/t each.
  private func seconds(_ bytes: Double) -> Double { bytes * (t - 1) / t / 1e9 }

  @Test(
    "Bytes on the wire of a layer: two all-reduces each way, or as many all-gathers and reduce-scatters under sequence parallelism",
    arguments: [
      "gpt", "llama",
    ])
  func tensorParallelBytes(_ style: String) throws {
    let tensor = 2 * b * s * h
    let plain = try difference(["style": .string(style)], peak: 1e9, link: 1) { $0.step.value }
    #expect(isClose(plain, 4 * 2 * seconds(tensor), 1e-3))
    // What stands between is held once on every rank: norms' weights and biases there have partial gradients, all-reduced once a step. 4 bytes each.
    let replicated = (style == "gpt" ? 6 : 2) * h * 4
    let sequence = try difference(["style": .string(style), "sp": true], peak: 1e9, link: 1) { $0.step.value }
    #expect(isClose(sequence, 4 * 2 * seconds(tensor) + 2 * seconds(replicated), 1e-3))
  }

  /// fp32 gradients; ZeRO 1 gathers 16-bit weights once a step, ZeRO 3 twice in each micro-batch.
  @Test("Bytes on the wire of a layer under data parallelism, ZeRO 1 and ZeRO 3")
  func dataParallelBytes() throws {
    let parameters = h * h * (2 + 2 * g / a) + 3 * h * f + 2 * h
    func step(_ zero: Int, gbs: Int) throws -> Double {
      try difference(
        ["style": "llama", "kv_heads": 4, "tp": 1, "dp": 4, "gbs": .int(gbs), "zero": .int(zero)], peak: 1e9, link: 1
      ) { $0.step.value }
    }
    #expect(isClose(try step(0, gbs: 8), 2 * seconds(4 * parameters), 1e-3))
    #expect(isClose(try step(1, gbs: 8), seconds(4 * parameters) + seconds(2 * parameters), 1e-3))
    #expect(isClose(try step(3, gbs: 8), 2 * seconds(2 * parameters) + seconds(4 * parameters), 1e-3))
    #expect(isClose(try step(3, gbs: 16), 2 * (2 * seconds(2 * parameters) + seconds(4 * parameters)), 1e-3))
  }

  // MARK: memory

  private func kept(_ changes: KeyValuePairs<String, JSON?>) throws -> Double { try difference(changes) { $0.memory(ofGroup: 0).activations.value } }

  private func resident(_ changes: KeyValuePairs<String, JSON?>) throws -> Double {
    try difference(changes) {
      let part = $0.memory(ofGroup: 0)
      return (part.weights + part.gradients + part.optimizerState).value
    }
  }

  /// 2 bytes of weight, 4 of gradient, 4 of master weight, 8 of AdamW's state.
  @Test("State of a layer under tensor parallelism, data parallelism and each ZeRO stage")
  func state() throws {
    let (split, whole) = (4 * h * h + 2 * h * f + 3 * h + f, 6 * h)
    #expect(isClose(try resident([:]), 18 * (split / t + whole)))
    let parameters = h * h * (2 + 2 * g / a) + 3 * h * f + 2 * h
    for (zero, bytes) in [(0, 18.0), (1, 6 + 12 / t), (2, 2 + 16 / t), (3, 18 / t)] {
      #expect(isClose(try resident(["style": "llama", "kv_heads": 4, "tp": 1, "dp": 4, "gbs": 8, "zero": .int(zero)]), bytes * parameters, 1e-4))
    }
  }

  /// Korthikanti et al. 2022, §4, with the score matrix left out, which blocked attention never holds: per layer sbh(10 + 24/t) at an MLP of 4h, of
  /// which dropout masks are 2sbh; here without dropout, and 4sbf/t in place of 16sbh/t. Besides, two statistics a row of the norms, and one a row
  /// and head of attention, 4 bytes each.
  @Test("Activations of a GPT layer under tensor parallelism, with attention and with everything computed again")
  func activationsOfGPT() throws {
    let (norms, scores) = (2 * 2 * 4 * s * b, 4 * s * b * a / t)
    let inputs = 8 * s * b * h
    let worked = inputs + (8 * s * b * h + 4 * s * b * f) / t
    #expect(isClose(try kept([:]), worked + norms + scores))
    // Attention's result is computed again, with its statistics.
    #expect(isClose(try kept(["recompute": "selective"]), worked + norms - 2 * s * b * h / t))
    #expect(isClose(try kept(["recompute": "full"]), 2 * s * b * h))
    // Under sequence parallelism all is shared out but the inputs of the products, which are kept as they were gathered.
    let shared = (inputs + 8 * s * b * h + 4 * s * b * f) / t + norms / t + scores
    #expect(isClose(try kept(["sp": true]), shared + 4 * s * b * h * (1 - 1 / t)))
  }

  /// 5as/h of that model.
  private static let scores = 5 * 64 * 2048 / 6144.0

  /// Korthikanti et al. 2022, table 2, in units of sbh, for the 22B model of table 3 on 8 devices: the score matrix takes 5as²b / t.
  @Test(
    "Oracle: activations of a layer are within 2 % of the paper's formulas",
    arguments: [
      ("none", false, 10 + 24.0 / 8 + scores / 8), ("none", true, 34.0 / 8 + scores / 8), ("selective", false, 10 + 24.0 / 8),
      ("selective", true, 34.0 / 8), ("full", false, 2.0),
    ])
  func korthikantiActivations(_ recompute: String, _ isSequenceParallel: Bool, _ factor: Double) throws {
    func activations(layers: Int) throws -> Double {
      let row = Tables.row("r", ["layers": .int(layers), "recompute": .string(recompute), "sp": .bool(isSequenceParallel)])
      return try #require(try Tables.price(row, name: "korthikanti2022").prediction).memory(ofGroup: 0).activations.value
    }
    let found = try activations(layers: 4) - activations(layers: 3)
    #expect(isClose(found, factor * 2048 * 4 * 6144, 0.02), "\(found / (2048 * 4 * 6144)) sbh")
  }
}
