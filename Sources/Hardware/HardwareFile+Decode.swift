// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities

extension HardwareFile {
  /// - Throws: `DocumentError` (unreadable, not JSON, a key or value that the format does not have), `HardwareError` (values that
  ///   contradict each other).
  package init(readingFrom path: String) throws {
    try self.init(decoding: Document(readingFrom: path))
  }

  /// - Throws: as `init(readingFrom:)`.
  package init(decoding document: Document) throws {
    let root = try document.root(format: Self.format, keys: ["name", "source", "devices", "groups", "levels", "calibration"])
    let name = try root.string("name")
    let source = try root.string("source")
    // By name, since the order of an object's keys means nothing: files that differ in it alone are equal values.
    let devices = try root.node("devices").members().map { try DeviceKind(named: $0.key, decoding: $0.node) }.sorted { $0.name < $1.name }
    let levels = try root.elements("levels").map { try Level(decoding: $0) }
    let groups = try root.elements("groups").map { try Group(decoding: $0, devices: devices) }
    let calibration = try root.nodeIfPresent("calibration").map { try CalibrationRecord(decoding: $0) }
    try root.finish()
    try self.init(name: name, source: source, devices: devices, groups: groups, levels: levels, calibration: calibration, file: document.file)
  }
}

/// Rates and sizes in the file's units: far beyond any device on both sides, and far from where products overflow.
private let figure = Bound.within(1e-6, 1e12)
private let figureOrZero = Bound.within(0, 1e12)

extension DeviceKind {
  init(named name: String, decoding node: Node) throws(DocumentError) {
    let o = try node.object(keys: [
      "source", "peak_TFLOPS", "memory_GiB", "reserved_GiB", "memory_bandwidth_GBps", "default_dtype", "launch_overhead_us",
      "process_overhead_MiB", "efficiency",
    ])
    source = try o.stringIfPresent("source")
    let peakObject = try o.object("peak_TFLOPS")
    var peaks: [Peak] = []
    for precision in Precision.allCases {
      guard let rate = try peakObject.doubleIfPresent(precision.rawValue, figure) else { continue }
      peaks.append(Peak(precision: precision, rate: .teraflops(rate)))
    }
    try peakObject.finish()
    guard !peaks.isEmpty else { throw peakObject.node.invalid(expected: "a peak rate for at least one data type, e.g. {\"bf16\": 312}") }
    let memory = Bytes.gibibytes(try o.double("memory_GiB", figure))
    let reservedNode = o.nodeIfPresent("reserved_GiB")
    let reserved = Bytes.gibibytes(try reservedNode?.double(figureOrZero) ?? 0)
    if let reservedNode, reserved >= memory { throw reservedNode.invalid(expected: "less than memory_GiB") }
    memoryBandwidth = .gigabytesPerSecond(try o.double("memory_bandwidth_GBps", figure))
    let precision = try o.choice("default_dtype", of: Precision.self)
    if !peaks.contains(where: { $0.precision == precision }) {
      throw try o.node("default_dtype").invalid(expected: "a data type that peak_TFLOPS names")
    }
    defaultPrecision = precision
    launchOverhead = .microseconds(try o.doubleIfPresent("launch_overhead_us", figureOrZero) ?? 0)
    processOverhead = Bytes((try o.doubleIfPresent("process_overhead_MiB", figureOrZero) ?? 0) * 1_048_576)
    if let node = o.nodeIfPresent("efficiency") {
      efficiency = try KernelEfficiency(decoding: node)
    } else {
      efficiency = .ideal
    }
    try o.finish()
    self.name = name
    self.peaks = peaks
    self.memory = memory
    reservedMemory = reserved
  }
}

extension KernelEfficiency {
  /// What a file that says nothing gets: every kernel at its bound.
  package static let ideal = KernelEfficiency(gemm: 1, gemmHalfDepth: 0, attention: 1, memory: 1, source: nil)

  init(decoding node: Node) throws(DocumentError) {
    let o = try node.object(keys: [
      "gemm", "gemm_half_depth", "gemm_half_rows", "gemm_half_columns", "gemm_unaligned", "fuses_bias", "attention", "attention_backward",
      "attention_block", "exponentials_Gops", "memory", "optimizer", "dispatch_us", "unfitted", "fitted_on", "source",
    ])
    gemm = try o.double("gemm", .fraction)
    gemmHalfDepth = try o.doubleIfPresent("gemm_half_depth", figureOrZero) ?? 0
    gemmHalfRows = try o.doubleIfPresent("gemm_half_rows", figureOrZero) ?? 0
    gemmHalfColumns = try o.doubleIfPresent("gemm_half_columns", figureOrZero) ?? 0
    gemmUnaligned = try o.doubleIfPresent("gemm_unaligned", .fraction) ?? 1
    fusesBias = try o.boolIfPresent("fuses_bias") ?? false
    attention = try o.doubleIfPresent("attention", .fraction) ?? gemm
    attentionBackward = try o.doubleIfPresent("attention_backward", .fraction) ?? attention
    attentionBlock = try o.doubleIfPresent("attention_block", figureOrZero) ?? 0
    exponentials = try o.doubleIfPresent("exponentials_Gops", figure).map { $0 * 1e9 } ?? .infinity
    memory = try o.double("memory", .fraction)
    optimizer = try o.doubleIfPresent("optimizer", .fraction) ?? memory
    dispatch = .microseconds(try o.doubleIfPresent("dispatch_us", figureOrZero) ?? 0)
    fit = try FitRecord(o, FittableConstant.ofDevices)
    source = try o.stringIfPresent("source")
    try o.finish()
  }
}

extension HardwareFile.Group {
  init(decoding node: Node, devices: [DeviceKind]) throws {
    let o = try node.object(keys: ["device", "devices_per_node", "nodes", "innermost_level"])
    let deviceNode = try o.node("device")
    let name = try deviceNode.string()
    guard let device = devices.firstIndex(where: { $0.name == name }) else {
      throw HardwareError.unknownDevice(file: node.file, path: deviceNode.path, name: name, known: devices.map(\.name))
    }
    self.device = device
    devicesPerNode = try o.node("devices_per_node").countOrAny()
    nodes = try o.node("nodes").countOrAny()
    innermost = try o.nodeIfPresent("innermost_level").map { try Level(decoding: $0) }
    try o.finish()
  }
}

extension Level {
  init(decoding node: Node) throws(DocumentError) {
    let o = try node.object(keys: [
      "name", "joins", "bandwidth_GBps", "bandwidth_is", "topology", "latency_us", "startup_us", "efficiency", "pattern_efficiency", "unfitted",
      "fitted_on",
      "source",
    ])
    name = try o.string("name")
    joins = try o.node("joins").countOrAny()
    bandwidth = .gigabytesPerSecond(try o.double("bandwidth_GBps", figure))
    bandwidthIs = try o.choice("bandwidth_is", of: BandwidthOwner.self)
    topology = try o.choiceIfPresent("topology", of: Topology.self) ?? .switch
    latency = .microseconds(try o.double("latency_us", figureOrZero))
    startup = .microseconds(try o.doubleIfPresent("startup_us", figureOrZero) ?? 0)
    efficiency = try o.doubleIfPresent("efficiency", .fraction) ?? 1
    patterns = if let node = o.nodeIfPresent("pattern_efficiency") { try PatternEfficiency(decoding: node) } else { .even }
    fit = try FitRecord(o, FittableConstant.ofLevels)
    source = try o.stringIfPresent("source")
    try o.finish()
    if topology == .mesh, joins == nil { throw try o.node("topology").invalid(expected: "\"switch\", since a mesh needs a number in joins") }
  }
}

extension Node {
  /// A count above 0, or the word "any", which is nil. The upper bound keeps products of counts far from overflow.
  fileprivate func countOrAny() throws(DocumentError) -> Int? {
    if value == "any" { return nil }
    guard case .int(let count) = value, 1...1_000_000 ~= count else { throw invalid(expected: "a whole number from 1 to 1000000, or \"any\"") }
    return count
  }
}
