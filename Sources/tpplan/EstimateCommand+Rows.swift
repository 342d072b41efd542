// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Quantities
import Validation

extension EstimateCommand {
  /// `estimate --rows`: prices a table.
  func price(rows path: String) throws {
    if let model { throw UsageError("--rows \(path): each row has its own model and cluster; leave \(model) out") }
    if output != nil { throw UsageError("--rows \(path): rows are printed, not written as plans; leave --output out") }
    let table = try MeasurementTable(readingFrom: path)
    let shelf = HardwareShelf(folder: try ProjectFolder.hardware(hardwareFolder))
    let prices = try Self.prices(of: table, RowPricer(shelf))
    switch format ?? .json {
    case .json: try printLines(zip(prices, table.published).map { $0.json(beside: $1).canonicalText })
    case .text: try printLines(RowsText(prices, table.published).lines)
    }
  }

  /// - Parameter arguments: of the whole command.
  /// - Throws: `UsageError` for an option that says what each row says itself.
  static func refuseOthers(_ arguments: [String], beside path: String) throws {
    guard let verb = arguments.firstIndex(of: "estimate") else { return }
    for word in arguments[(verb + 1)...] where word.hasPrefix("--") {
      let option = String(word.prefix { $0 != "=" })
      if ["--rows", "--hardware-folder", "--format"].contains(option) { continue }
      throw UsageError("--rows \(path): each row has its own split and job; leave \(option) out (only --hardware-folder and --format go with --rows)")
    }
  }

  /// The prices of a table's rows, with a line on the terminal that shows how far it is.
  static func prices(of table: MeasurementTable, _ pricer: RowPricer) throws -> [RowPrice] {
    let watch = ProgressWatch()
    defer { watch.end() }
    do {
      return try pricer.price(table, threads: threads) { done in
        watch.show("\(table.name): \(done) of \(counted(table.rows.count, "row")) priced")
        return !watch.stop.isReached
      }
    } catch is CancellationError { throw Failure(code: Failure.interrupted, "interrupted: nothing is printed of a table that is not complete") }
  }

  static var threads: Int { max(1, min(16, ProcessInfo.processInfo.activeProcessorCount)) }
}

/// Folders of the project, looked for here, where the program was built, and where it is installed.
enum ProjectFolder {
  /// - Throws: `UsageError` where there is none.
  static func hardware(_ given: String?) throws -> String {
    try find(given, "hardware", option: "--hardware-folder", what: "the hardware files that rows name")
  }

  static func find(_ given: String?, _ name: String, option: String?, what: String) throws -> String {
    func isFolder(_ path: String) -> Bool {
      var isDirectory: ObjCBool = false
      return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory.boolValue
    }
    if let given {
      guard isFolder(given) else { throw UsageError("\(option.map { $0 + " " } ?? "")\(given): no folder of this name") }
      return given
    }
    if isFolder(name) { return name }
    var folder = URL(fileURLWithPath: resolvedPath("/proc/self/exe")).deletingLastPathComponent()
    // As `make install` lays it out.
    let installed = folder.deletingLastPathComponent().appendingPathComponent("share/tpplan/\(name)").path
    if isFolder(installed) { return installed }
    while folder.path != "/" {
      let path = folder.appendingPathComponent(name).path
      if isFolder(path), FileManager.default.fileExists(atPath: folder.appendingPathComponent("Package.swift").path) { return path }
      folder = folder.deletingLastPathComponent()
    }
    let hint = option.map { "; name it with \($0)" } ?? "; name one"
    throw UsageError("no folder \"\(name)\" is here, which holds \(what)\(hint)")
  }
}

/// The prices of a table's rows in columns.
struct RowsText {
  let lines: [String]

  init(_ prices: [RowPrice], _ published: [PublishedFigures]) {
    var table = TextTable([
      ("row", .left), ("status", .left), ("step", .right), ("published", .right), ("error", .right), ("memory", .right), ("published", .right),
      ("fits", .left), ("why", .left),
    ])
    for (price, figures) in zip(prices, published) { Self.add(price, figures, to: &table) }
    let counts = RowPrice.Status.allCases.map { status in "\(prices.count { $0.status == status }) \(status.rawValue)" }
    lines = table.lines(indent: 0) + ["\(counted(prices.count, "row")): \(counts.joined(separator: ", "))"]
  }

  /// A row. Not part of the loop: Swift 6.3.1's optimiser, with tests enabled, fails on the closures there.
  @inline(never)
  private static func add(_ price: RowPrice, _ figures: PublishedFigures, to table: inout TextTable) {
    let (step, memory, fits) = (price.step, price.memory, price.fits)
    var error = ""
    if let step, let seconds = figures.seconds { error = signed(step.value / seconds - 1) }
    table.add(
      price.id, price.status.rawValue, step?.description ?? "", figures.seconds.map { Seconds($0).description } ?? "", error,
      memory.map { "\(rounded($0.value / 1e9)) GB" } ?? "", figures.memoryGB.map { "\(rounded($0)) GB" } ?? "",
      fits.map { $0 ? "yes" : "no" } ?? "", price.reason ?? "")
  }

  /// `+3.21 %`.
  static func signed(_ fraction: Double) -> String { (fraction < 0 ? "" : "+") + percent(fraction) }
}
