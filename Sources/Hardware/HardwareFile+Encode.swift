// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Quantities

extension HardwareFile {
  /// The file's JSON: decoding it gives an equal value. Optional keys at their defaults are left out.
  package var json: JSON {
    var o = JSON.Object([
      ("format", .string(Self.format)), ("name", .string(name)), ("source", .string(source)),
      ("devices", .object(JSON.Object(devices.map { ($0.name, $0.json) }))), ("groups", .array(groups.map { $0.json(devices: devices) })),
      ("levels", .array(levels.map(\.json))),
    ])
    o["calibration"] = calibration?.json
    return .object(o)
  }
}

extension DeviceKind {
  fileprivate var json: JSON {
    var o = JSON.Object()
    o["source"] = source.map { .string($0) }
    o["peak_TFLOPS"] = .object(JSON.Object(peaks.map { ($0.precision.rawValue, .double(decimal($0.rate.value, 1e12))) }))
    o["memory_GiB"] = .double(memory.gibibytes)
    o["reserved_GiB"] = .double(reservedMemory.gibibytes)
    o["memory_bandwidth_GBps"] = .double(decimal(memoryBandwidth.value, 1e9))
    o["default_dtype"] = .string(defaultPrecision.rawValue)
    o["launch_overhead_us"] = .double(decimal(launchOverhead.value, 1e-6))
    if processOverhead != .zero { o["process_overhead_MiB"] = .double(processOverhead.value / 1_048_576) }
    o["efficiency"] = efficiency.json
    return .object(o)
  }
}

extension KernelEfficiency {
  fileprivate var json: JSON {
    var o = JSON.Object()
    o["gemm"] = .double(gemm)
    o["gemm_half_depth"] = .double(gemmHalfDepth)
    if gemmHalfRows != 0 { o["gemm_half_rows"] = .double(gemmHalfRows) }
    if gemmHalfColumns != 0 { o["gemm_half_columns"] = .double(gemmHalfColumns) }
    if gemmUnaligned != 1 { o["gemm_unaligned"] = .double(gemmUnaligned) }
    if fusesBias { o["fuses_bias"] = .bool(true) }
    o["attention"] = .double(attention)
    if attentionBackward != attention { o["attention_backward"] = .double(attentionBackward) }
    if attentionBlock != 0 { o["attention_block"] = .double(attentionBlock) }
    if exponentials.isFinite { o["exponentials_Gops"] = .double(decimal(exponentials, 1e9)) }
    o["memory"] = .double(memory)
    if optimizer != memory { o["optimizer"] = .double(optimizer) }
    if dispatch != .zero { o["dispatch_us"] = .double(decimal(dispatch.value, 1e-6)) }
    fit?.write(to: &o)
    o["source"] = source.map { .string($0) }
    return .object(o)
  }
}

extension HardwareFile.Group {
  fileprivate func json(devices: [DeviceKind]) -> JSON {
    var o = JSON.Object()
    o["device"] = .string(devices[device].name)
    o["devices_per_node"] = countOrAny(devicesPerNode)
    o["nodes"] = countOrAny(nodes)
    o["innermost_level"] = innermost?.json
    return .object(o)
  }
}

extension Level {
  fileprivate var json: JSON {
    var o = JSON.Object()
    o["name"] = .string(name)
    o["joins"] = countOrAny(joins)
    o["bandwidth_GBps"] = .double(decimal(bandwidth.value, 1e9))
    o["bandwidth_is"] = .string(bandwidthIs.rawValue)
    if topology != .switch { o["topology"] = .string(topology.rawValue) }
    o["latency_us"] = .double(decimal(latency.value, 1e-6))
    if startup != .zero { o["startup_us"] = .double(decimal(startup.value, 1e-6)) }
    if efficiency != 1 { o["efficiency"] = .double(efficiency) }
    if patterns != .even { o["pattern_efficiency"] = patterns.json }
    fit?.write(to: &o)
    o["source"] = source.map { .string($0) }
    return .object(o)
  }
}

private func countOrAny(_ count: Int?) -> JSON { count.map { .int($0) } ?? "any" }

/// `value` in a decimal unit, as the number that gives `value` when multiplied again: 0.9e-6 s is 0.9 µs, not
/// 0.8999999999999999, as the quotient alone would have it.
private func decimal(_ value: Double, _ unit: Double) -> Double {
  let quotient = value / unit
  return [quotient, quotient.nextUp, quotient.nextDown].filter { $0 * unit == value }.min { "\($0)".count < "\($1)".count } ?? quotient
}
