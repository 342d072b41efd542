// SPDX-License-Identifier: GPL-3.0-or-later

/// A physical quantity held as one floating-point number in its base unit.
///
/// Quantities of one kind add and compare; a product or quotient of two kinds exists only where physics gives it a meaning
/// (see the operators at the end of this file), so a wrong unit is a compile error.
public protocol Quantity: Hashable, Comparable, Sendable, AdditiveArithmetic, CustomStringConvertible {
  /// The magnitude in the base unit.
  var value: Double { get }
  init(_ value: Double)
}

extension Quantity {
  @inlinable public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
  @inlinable public static func + (a: Self, b: Self) -> Self { Self(a.value + b.value) }
  @inlinable public static func - (a: Self, b: Self) -> Self { Self(a.value - b.value) }
  @inlinable public static func * (a: Self, factor: Double) -> Self { Self(a.value * factor) }
  @inlinable public static func * (a: Self, factor: Int) -> Self { Self(a.value * Double(factor)) }
  @inlinable public static func / (a: Self, divisor: Double) -> Self { Self(a.value / divisor) }
  /// The ratio of two quantities of one kind is a plain number.
  @inlinable public static func / (a: Self, b: Self) -> Double { a.value / b.value }
  @inlinable public static var zero: Self { Self(0) }
}

/// An amount of memory or of data moved, in bytes.
public struct Bytes: Quantity {
  public let value: Double
  @inlinable public init(_ value: Double) { self.value = value }
  @inlinable public init(_ count: Int) { self.value = Double(count) }
  /// `count` × 2^30 bytes.
  @inlinable public static func gibibytes(_ count: Double) -> Bytes { Bytes(count * 1_073_741_824) }
  /// In units of 2^30 bytes.
  @inlinable public var gibibytes: Double { value / 1_073_741_824 }
  public var description: String { Bytes.format(value) }
}

/// A duration, in seconds.
public struct Seconds: Quantity {
  public let value: Double
  @inlinable public init(_ value: Double) { self.value = value }
  /// `count` × 10^-6 seconds.
  @inlinable public static func microseconds(_ count: Double) -> Seconds { Seconds(count * 1e-6) }
  /// In whole picoseconds, rounded to nearest: the unit in which costs enter a search problem.
  @inlinable public var picoseconds: Int64 { Int64((value * 1e12).rounded()) }
  @inlinable public init(picoseconds: Int64) { self.value = Double(picoseconds) * 1e-12 }
  public var description: String { Seconds.format(value) }
}

/// A number of floating-point operations; a multiply-add counts as two.
public struct FLOPs: Quantity {
  public let value: Double
  @inlinable public init(_ value: Double) { self.value = value }
  public var description: String { "\(rounded(value / 1e9)) GFLOP" }
}

/// Floating-point operations per second.
public struct FLOPRate: Quantity {
  public let value: Double
  @inlinable public init(_ value: Double) { self.value = value }
  /// `count` × 10^12 operations per second.
  @inlinable public static func teraflops(_ count: Double) -> FLOPRate { FLOPRate(count * 1e12) }
  public var description: String { "\(rounded(value / 1e12)) TFLOP/s" }
}

/// Bytes per second.
public struct Bandwidth: Quantity {
  public let value: Double
  @inlinable public init(_ value: Double) { self.value = value }
  /// `count` × 10^9 bytes per second.
  @inlinable public static func gigabytesPerSecond(_ count: Double) -> Bandwidth { Bandwidth(count * 1e9) }
  public var description: String { "\(rounded(value / 1e9)) GB/s" }
}

@inlinable public func / (amount: Bytes, rate: Bandwidth) -> Seconds { Seconds(amount.value / rate.value) }
@inlinable public func / (work: FLOPs, rate: FLOPRate) -> Seconds { Seconds(work.value / rate.value) }
@inlinable public func * (rate: Bandwidth, time: Seconds) -> Bytes { Bytes(rate.value * time.value) }
