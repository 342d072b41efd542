// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities

/// A plan as one page that needs nothing else: no network, no script, no font. Equal plans give equal bytes.
package struct ReportPage {
  private let figures: ReportFigures

  /// - Parameters:
  ///   - searched: what other choices would make of the step, where that was looked for.
  ///   - program: who writes the page, with the version.
  /// - Throws: `HardwareError` or `PlannerError`, which a plan that was read does not give rise to.
  package init(_ plan: Plan, searched: SearchedAlternatives? = nil, program: String = "tpplan") throws {
    figures = try ReportFigures(plan, searched: searched, program: program)
  }

  /// The parts of the page: where each is, and what it is called.
  package static let parts: [(id: String, name: String)] = [
    ("summary", "In short"), ("time", "Where time goes"), ("timeline", "Time line"), ("memory", "Memory"), ("cluster", "Cluster and mesh"),
    ("stages", "Stages"), ("layers", "Layers"), ("collectives", "Collectives"), ("alternatives", "Alternatives"),
    ("certificate", "Certificate"), ("about", "About this plan"),
  ]

  /// The page as a file.
  package var bytes: [UInt8] { Array("<!DOCTYPE html>\n".utf8) + html.bytes + Array("\n".utf8) }

  private var html: HTML {
    let title = "\(figures.graph.name) on \(counted(figures.decision.ranks, "device")) of \(figures.plan.hardware.name)"
    return tag("html", ["lang": "en"]) {
      tag("head") {
        tag("meta", ["charset": "utf-8"])
        tag("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"])
        tag("meta", ["name": "color-scheme", "content": "light dark"])
        tag("title") { "\(title): tpplan report" }
        HTML.style(.page)
      }
      tag("body") {
        tag("a", ["class": "skip", "href": "#main"]) { "Skip to the report" }
        tag("header") {
          tag("h1") { title }
          tag("p", ["class": "lead"]) { figures.jobText }
        }
        tag("nav", ["aria-label": "Parts of the report"]) {
          tag("ul") { for part in Self.parts { tag("li") { tag("a", ["href": "#\(part.id)"]) { part.name } } } }
        }
        tag("main", ["id": "main", "tabindex": "-1"]) {
          figures.summarySection
          figures.timeSection
          figures.timelineSection
          figures.memorySection
          figures.clusterSection
          figures.stagesSection
          figures.layersSection
          figures.collectivesSection
          figures.alternativesSection
          figures.certificateSection
          figures.aboutSection
        }
        tag("footer") {
          "Written by tpplan. Every figure is a prediction of the plan's cost model; "
          tag("code") { "tpplan run" }
          " measures."
        }
      }
    }
  }
}
