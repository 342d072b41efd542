// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import Launches
import ModelGraph
import Planner
import Plans
import Quantities
import Search

/// What is found of a launch: what is wrong with it, what it costs, and what would be better.
struct LintReport {
  private(set) var launch: Launch
  let hardware: HardwareFile
  let file: String
  /// Whether the model is named apart.
  var isModelGiven = false
  /// Nil where the launch cannot be filled in.
  private(set) var job: LaunchJob?
  /// The launch as a plan; nil where it is none.
  private(set) var planned: PlanOutcome.Planned?
  /// Why it is none.
  private(set) var obstacle: String?
  /// The best plan of the same job on the same devices that the search found.
  private(set) var searched: PlanOutcome.Planned?
  /// No plan of them takes less.
  private(set) var lowerBound: Seconds?
  /// Where no plan of the same job fits these devices, what the least needs on its fullest device.
  private(set) var leastMemory: Bytes?
  /// Changes of one thing, the best first.
  private(set) var changes: [LaunchChange] = []
  private(set) var hasAllChanges = true
  /// Where the launch does not fit, what makes it fit: changes of its degrees, some of them on more devices, the fastest first.
  private(set) var repairs: [LaunchChange] = []
  /// And what would, of another job.
  private(set) var otherJobs: [Repair] = []

  init(_ launch: Launch, hardware: HardwareFile, file: String) {
    (self.launch, self.hardware, self.file) = (launch, hardware, file)
  }

  var isIllegal: Bool { launch.findings.contains { $0.severity == .illegal } }
  var fits: Bool { planned.map { $0.prediction.memory <= $0.prediction.memoryLimit } ?? false }

  /// Whether it may fit all the same, as what it moves off the devices is priced as if it stayed.
  var mayFit: Bool { planned != nil && !fits && !launch.offloading.isEmpty }

  /// Whether the search has shown that nothing is faster than what it found.
  var isProven: Bool { searched?.certificate.status == .optimal }

  /// The best plan of the same job on the same devices that is known: what the search found and, where that ended early, the launch and its changes too.
  var optimum: PlanOutcome.Planned? {
    guard let job, let planned, !isProven else { return searched }
    // Other kernels are no part of the search.
    let changed = changes.filter { $0.software == job.request.software }
    let known = [searched, planned].compactMap(\.self) + changed.map(\.planned)
    return known.filter { $0.prediction.memory <= $0.prediction.memoryLimit }.min { $0.prediction.step < $1.prediction.step }
  }

  /// How far the optimum may be from the best possible, as a part of its step; nil where nothing bounds it.
  var gap: Double? {
    guard let optimum, let lowerBound else { return nil }
    return isProven ? 0 : max(0, 1 - lowerBound / optimum.prediction.step)
  }

  /// Changes that fit and are faster than the launch, or make it fit.
  private var better: [LaunchChange] {
    guard let planned else { return [] }
    return changes.filter { $0.fits && (!fits || $0.planned.prediction.step < planned.prediction.step) }
  }

  /// Those that the launch's format can say.
  var improvements: [LaunchChange] { better.filter(\.isSayable) }
  /// Those that it cannot.
  var improvementsElsewhere: [LaunchChange] { better.filter { !$0.isSayable } }

  /// What the launch leaves to its caller, and what to do about it; nil where it leaves nothing.
  var open: String? {
    guard launch.findings.contains(where: { $0.severity == .open }) else { return nil }
    let settings = launch.openVariables.map { "--set \($0)=…" }.joined(separator: " ")
    return "the script leaves open what it starts" + (settings.isEmpty ? "" : "; say \(settings)")
  }

  mutating func leaveOpen(_ reason: String) { obstacle = reason }

  /// Fills the launch in, and prices it. What does not go together is a finding.
  mutating func price(_ graph: Graph, devices: Int?, batch: Int?, sequence: Int?) throws {
    do {
      let job = try LaunchJob(launch, graph: graph, on: hardware, devices: devices, batch: batch, sequence: sequence, isModelGiven: isModelGiven)
      self.job = job
      launch.findings += job.findings
      compare(graph)
      let planned = try job.planned()
      launch.findings += job.findings(against: planned)
      self.planned = planned
    } catch PlannerError.usage(let text) {
      let text = launch.format.inOwnWords(text)
      obstacle = text
      // What is illegal by itself tells more.
      if !isIllegal { launch.findings.insert(Finding(.illegal, launch.format.subject(of: text) ?? "the degrees", text), at: 0) }
    }
  }

  /// Says where a model that is named apart is not the one that the launch describes.
  private mutating func compare(_ graph: Graph) {
    guard isModelGiven, let own = launch.graph, own.parameterCount != graph.parameterCount else { return }
    let (described, named) = (Double(own.parameterCount) / 1e9, Double(graph.parameterCount) / 1e9)
    // A padded vocabulary makes that much.
    guard abs(described / named - 1) > 0.01 else { return }
    launch.findings.append(
      Finding(
        .doubtful, "the model",
        "is described with \(rounded(described)) billion parameters, and \(graph.name) has \(rounded(named)); priced is \(graph.name)"))
  }

  /// Looks for the best plan, for the best changes and, where the launch does not fit, for what makes it fit.
  ///
  /// - Parameter seconds: for each of them.
  mutating func improve(seconds: Double) throws {
    try findOptimum(seconds: seconds)
    let watch = ProgressWatch()
    defer { watch.end() }
    findChanges(seconds: seconds, watch)
    findRepairs(seconds: seconds, watch)
  }

  mutating func findOptimum(seconds: Double) throws {
    guard let job, planned != nil else { return }
    let watch = SearchWatch(limit: seconds)
    defer { watch.end() }
    var request = job.request
    (request.mayLeaveIdle, request.timeLimit) = (true, seconds)
    switch try Planner.search(request, watch.monitor) {
    case .planned(let best): (searched, lowerBound) = (best, best.certificate.lowerBound)
    case .infeasible(let why): leastMemory = why.memory?.least
    case .timeLimit(let bound): lowerBound = bound
    }
  }

  mutating func findChanges(seconds: Double, _ watch: ProgressWatch) {
    guard let job, planned != nil else { return }
    let stop = StopCondition(after: .seconds(seconds), within: watch.stop)
    (changes, hasAllChanges) = job.changes(
      isOver: { stop.isReached }, progress: { watch.show("pricing changes: \($0) (Ctrl-C: those priced so far)") })
  }

  mutating func findRepairs(seconds: Double, _ watch: ProgressWatch) {
    guard let job, planned != nil, !fits, job.styles == nil else { return }
    let found = Planner.repairs(job.degrees, job.request, seconds: seconds, stop: watch.stop) {
      watch.show("looking for changes that make it fit: \($0) (Ctrl-C: those found so far)")
    }.changes
    // What counts is the launch with the change in it.
    let wider = job.onMoreDevices { watch.stop.isReached }
    repairs = (found.compactMap { repair in repair.degrees.flatMap { job.change(to: $0) } }.filter(\.fits) + [wider].compactMap(\.self))
      .sorted { $0.planned.prediction.step < $1.planned.prediction.step }
    otherJobs = found.filter(\.isOtherJob)
  }

  /// - Parameter modelSHA256: of the model's file, where it is named apart.
  func plan(modelSHA256: String?) -> Plan? {
    guard let job, let planned else { return nil }
    return Plan(
      decision: planned.decision, prediction: planned.prediction, certificate: planned.certificate, hardware: hardware,
      modelSHA256: modelSHA256 ?? ModelReader.encode(job.request.graph).sha256, hardwareSHA256: hardware.json.sha256, assumptions: job.assumptions)
  }
}
