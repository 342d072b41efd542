// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Lowering
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

/// All that a page shows of a plan: what `inspect` shows, when passes run, what is in memory when, and what single choices are worth.
struct ReportFigures {
  /// What one rank of a stage has in memory through a step.
  struct StageMemory {
    let group: Int
    let rank: Int
    let timeline: MemoryTimeline
  }

  let report: PlanReport
  let changes: [SingleChange]
  /// Nil where no search was asked for.
  let searched: SearchedAlternatives?
  /// Who writes the page, with the version.
  let program: String
  let memories: [StageMemory]
  /// For each group of devices, what is there of tensors when a rank has most of them.
  let peaks: [MemoryTimeline.Sample]
  /// For each group of devices.
  let times: [StageTime]
  /// The group of devices that works longest, and so waits least.
  let busiest: Int
  /// One copy of each operator, for one micro-batch, on its devices.
  let operatorsOfBusiest: [Prediction.OperatorPart]

  /// - Throws: `HardwareError` or `PlannerError`, which a plan that was read does not give rise to.
  init(_ plan: Plan, searched: SearchedAlternatives?, program: String) throws {
    report = try PlanReport(plan)
    (self.searched, self.program) = (searched, program)
    let (decision, prediction) = (plan.decision, plan.prediction)
    let step = report.step
    changes = try Planner.singleChanges(decision, on: report.cluster)
    let times = StageTime.ofGroups(decision, prediction, step).enumerated().map { group, time in
      time.ending(at: step.passes(ofGroup: group).last?.end ?? .zero, step: prediction.step)
    }
    self.times = times
    busiest = times.indices.max { times[$0].waiting > times[$1].waiting } ?? 0
    operatorsOfBusiest = step.parts[busiest].operators
    // The fullest stage, and the two ends of the pipeline.
    let shown = Set([0, prediction.fullest, decision.groups - 1]).sorted()
    func memory(ofGroup group: Int) -> StageMemory {
      let rank = decision.ranks(ofGroup: group).lowerBound
      return StageMemory(group: group, rank: rank, timeline: step.memory(of: Lowering.program(for: decision, rank: rank)))
    }
    let memories = shown.map(memory(ofGroup:))
    self.memories = memories
    var peaks: [MemoryTimeline.Sample] = []
    for group in 0..<decision.groups {
      if let known = memories.first(where: { $0.group == group }) {
        peaks.append(known.timeline.peak)
      } else if group > 0, let last = peaks.last, prediction.memory(ofGroup: group) == prediction.memory(ofGroup: group - 1) {
        // Equal neighbours are one row of the page.
        peaks.append(last)
      } else {
        peaks.append(memory(ofGroup: group).timeline.peak)
      }
    }
    self.peaks = peaks
  }

  var plan: Plan { report.plan }
  var step: PredictedStep { report.step }
  var decision: Decision { report.decision }
  var graph: Graph { report.graph }
  var prediction: Prediction { report.prediction }
  var cluster: Cluster { report.cluster }
  var job: Job { decision.job }

  /// `stage 3`, or where there is one, `all devices`.
  func name(ofGroup group: Int) -> String { decision.groups == 1 ? "all devices" : "stage \(group)" }

  /// `all devices`, `stage 3` or `stages 1–6`.
  func name(ofGroups groups: Range<Int>) -> String { groups.count == 1 ? name(ofGroup: groups.lowerBound) : "stages \(span(groups))" }

  /// The groups of devices in order, three or more equal neighbours together.
  func alike(_ isEqual: (Int, Int) -> Bool) -> [Range<Int>] {
    var runs: [Range<Int>] = []
    var first = 0
    while first < decision.groups {
      let end = (first..<decision.groups).first { !isEqual(first, $0) } ?? decision.groups
      runs += end - first > 2 ? [first..<end] : (first..<end).map { $0..<$0 + 1 }
      first = end
    }
    return runs
  }

  /// Each hue's meaning is the same on the whole page.
  func hue(ofGroup group: Int) -> Hue { .ofStage(group, of: decision.groups) }
}

/// A share to a tenth of a percent, which is as much as is looked at: `12.3 %`, `< 0.1 %`.
func roughly(_ share: Double) -> String {
  let tenths = (share * 1000).rounded()
  return tenths == 0 && share > 0 ? "< 0.1 %" : "\((share * 100).short) %"
}
