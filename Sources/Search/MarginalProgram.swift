// SPDX-License-Identifier: GPL-3.0-or-later

/// The problem as a mixed-integer linear program in the tight form with edge marginals.
///
///     minimise   T                                                                          (K > 1; K = 1: the row itself)
///     such that  T ≥ offset_k + Σ_v Σ_p c_k(v,p) x_vp + Σ_e Σ_gh c_k(e,g,h) y_egh            each objective row k
///                Σ_p x_vp = 1                                                               each node v
///                Σ_h y_egh = Σ_{p ∈ g} x_up                                                 each edge e = (u,v), class g of u's strategies
///                Σ_g y_egh = Σ_{q ∈ h} x_vq                                                 each edge e = (u,v), class h of v's strategies
///                Σ_v Σ_p usage_r(v,p) x_vp ≤ limit_r                                        each memory row r that is asked for
///                x binary; y ≥ 0, only where (g,h) is allowed
///
/// The classes g, h are strategies with equal rows (columns) of the edge's matrix: those of one layout share their marginals. For integral x
/// the marginals are forced to y_egh = [p ∈ g][q ∈ h], so y needs no integrality. Costs are divided by `unit`, memory rows by their limit.
struct MarginalProgram {
  private let problem: Problem
  private(set) var program = LinearProgram()
  /// The column of each strategy of each node; nil where it is forbidden.
  private(set) var columns: [[Int?]] = []
  /// What one unit of the program's objective is worth.
  let unit: Double

  /// What is to be added to the program's objective, times `unit`: the largest offset. (GLPK's tolerances are relative to its objective, so that a
  /// large constant would blunt them; a program with names, which is for others to read, holds its offsets itself.)
  var origin: Int64 { problem.offsets.max() ?? 0 }

  /// How columns and rows are named where the program is to be read.
  typealias Naming = (_ node: Int) -> String

  /// - Parameters:
  ///   - aggregates: share marginals between equal strategies; otherwise each strategy is a class of its own.
  init(_ problem: Problem, unit: Double, aggregates: Bool = true, naming: Naming? = nil) {
    self.problem = problem
    self.unit = unit
    addNodes(naming)
    let marginals = problem.edges.indices.map { addEdge($0, aggregates: aggregates, naming: naming) }
    addObjective(marginals, isNamed: naming != nil)
  }

  private mutating func addNodes(_ naming: Naming?) {
    for node in 0..<problem.nodeCount {
      columns.append(
        (0..<problem.strategyCount(of: node)).map { strategy in
          guard problem.cost(node: node, strategy: strategy) < Problem.forbidden else { return nil }
          return program.add(LinearProgram.Column(name: naming.map { "x_\($0(node))_\(strategy)" }, kind: .binary, upper: 1))
        })
      program.rows.append(.equal(1, columns[node].compactMap { $0 }.map { ($0, 1) }, name: naming.map { "one_\($0(node))" }))
    }
  }

  /// The marginals of an edge, each with the entry of the matrix that stands for it.
  private mutating func addEdge(_ edge: Int, aggregates: Bool, naming: Naming?) -> [(column: Int, entry: Int)] {
    let ends = problem.edges[edge]
    let width = problem.strategyCount(of: ends.head)
    let (tails, heads) =
      aggregates
      ? (StrategyClasses(problem, edge: edge, ofTail: true), StrategyClasses(problem, edge: edge, ofTail: false))
      : (StrategyClasses(separate: problem.strategyCount(of: ends.tail)), StrategyClasses(separate: width))
    var byTail = [[(column: Int, value: Double)]](repeating: [], count: tails.count)
    var byHead = [[(column: Int, value: Double)]](repeating: [], count: heads.count)
    var marginals: [(column: Int, entry: Int)] = []
    let name = naming.map { "\($0(ends.tail))_\($0(ends.head))_\(edge)" }
    for (g, p) in tails.representatives.enumerated() {
      for (h, q) in heads.representatives.enumerated() where problem.cost(edge: edge, p, q) < Problem.forbidden {
        let column = program.add(LinearProgram.Column(name: name.map { "y_\($0)_\(g)_\(h)" }))
        byTail[g].append((column, 1))
        byHead[h].append((column, 1))
        marginals.append((column, p * width + q))
      }
    }
    for (strategy, column) in columns[ends.tail].enumerated() {
      if let column { byTail[Int(tails.classes[strategy])].append((column, -1)) }
    }
    for (strategy, column) in columns[ends.head].enumerated() {
      if let column { byHead[Int(heads.classes[strategy])].append((column, -1)) }
    }
    for (g, terms) in byTail.enumerated() where !terms.isEmpty { program.rows.append(.equal(0, terms, name: name.map { "tail_\($0)_\(g)" })) }
    for (h, terms) in byHead.enumerated() where !terms.isEmpty { program.rows.append(.equal(0, terms, name: name.map { "head_\($0)_\(h)" })) }
    return marginals
  }

  private mutating func addObjective(_ marginals: [[(column: Int, entry: Int)]], isNamed: Bool) {
    let rows = problem.objectiveRowCount
    var terms = [[(column: Int, value: Double)]](repeating: [], count: rows)
    for node in 0..<problem.nodeCount {
      for (strategy, column) in columns[node].enumerated() {
        guard let column else { continue }
        for row in 0..<rows { terms[row].append((column, Double(problem.cost(node: node, strategy: strategy, row: row)) / unit)) }
      }
    }
    for (edge, marginals) in marginals.enumerated() {
      let start = problem.edges[edge].start
      for (column, entry) in marginals {
        for row in 0..<rows { terms[row].append((column, Double(problem.edgeCosts[start + entry * rows + row]) / unit)) }
      }
    }
    guard rows > 1 else {
      if isNamed { _ = program.add(LinearProgram.Column(name: "offset", lower: 1, upper: 1, cost: Double(problem.offsets[0]) / unit)) }
      for term in terms[0] { program.columns[term.column].cost = term.value }
      return
    }
    let scale = isNamed ? objectiveScale() : 1
    let top = program.add(LinearProgram.Column(name: isNamed ? "T" : nil, lower: -.infinity, cost: scale))
    for row in 0..<rows {
      let slack = (isNamed ? -Double(problem.offsets[row]) : Double(origin - problem.offsets[row])) / unit / scale
      let values = terms[row].filter { $0.value != 0 }.map { (column: $0.column, value: $0.value / scale) }
      program.rows.append(.atMost(slack, values + [(top, -1)], name: isNamed ? "objective_\(row)" : nil))
    }
  }

  /// What T and the objective rows are counted in where the program is for others to read; the objective stays as it is. Solvers with absolute
  /// tolerances call a program infeasible whose rows hold numbers of 10^10 (HiGHS 1.15.1 did). A power of ten leaves decimals that can be written out.
  private func objectiveScale() -> Double {
    var scale = 1.0
    while Double(problem.largestCost()) / unit / scale >= 1e6 { scale *= 10 }
    return scale
  }

  mutating func add(_ row: LinearProgram.Row) { program.rows.append(row) }

  /// The memory row `row`, divided by its limit.
  func memoryRow(_ row: Int, loads: [Int], name: String? = nil, isScaled: Bool = true) -> LinearProgram.Row {
    var usageByColumn = [Int: Int64]()
    var order: [Int] = []
    for load in loads {
      for (strategy, column) in columns[problem.loads[load].node].enumerated() {
        guard let column, case let usage = problem.usage(load: load, strategy: strategy), usage > 0 else { continue }
        if usageByColumn[column] == nil { order.append(column) }
        usageByColumn[column, default: 0] += usage
      }
    }
    let limit = problem.limits[row]
    let scale = isScaled ? Double(limit > 0 ? limit : max(1, usageByColumn.values.max() ?? 1)) : 1
    return .atMost(Double(limit) / scale, order.map { ($0, Double(usageByColumn[$0] ?? 0) / scale) }, name: name)
  }

  /// A row that rules out `choice`, which exceeds a memory row by less than the program's tolerance: not all of its loads, nor larger ones in
  /// their places, may be taken at once.
  func coverRow(_ row: Int, loads: [Int], choice: [Int]) -> LinearProgram.Row {
    var usage = [Int: [Int64]]()
    for load in loads {
      let node = problem.loads[load].node
      for strategy in 0..<problem.strategyCount(of: node) {
        usage[node, default: [Int64](repeating: 0, count: problem.strategyCount(of: node))][strategy] += problem.usage(load: load, strategy: strategy)
      }
    }
    var terms: [(column: Int, value: Double)] = []
    var count = 0
    for node in 0..<problem.nodeCount {
      guard let usages = usage[node], usages[choice[node]] > 0 else { continue }
      count += 1
      for (strategy, column) in columns[node].enumerated() where usages[strategy] >= usages[choice[node]] {
        if let column { terms.append((column, 1)) }
      }
    }
    return .atMost(Double(count - 1), terms)
  }

  /// The choice with the largest x of each node.
  func choice(from values: [Double]) -> [Int] {
    columns.map { columns in
      var best = 0
      var largest = -Double.infinity
      for (strategy, column) in columns.enumerated() {
        if let column, values[column] > largest { (best, largest) = (strategy, values[column]) }
      }
      return best
    }
  }
}

extension Problem {
  /// Writes the whole program, all memory rows included and costs unscaled, as CPLEX LP text.
  /// - Parameter naming: a name for each node, of letters, digits and underscores; `0`, `1`, … unless given.
  /// - Throws: `SearchError.cannotWrite`.
  package func writeLP(to path: String, naming: @escaping (_ node: Int) -> String = { "\($0)" }) throws(SearchError) {
    var program = MarginalProgram(self, unit: 1, naming: naming)
    for row in limits.indices {
      let loads = loads.indices.filter { self.loads[$0].rows.contains(row) }
      program.add(program.memoryRow(row, loads: loads, name: "memory_\(row)", isScaled: false))
    }
    var glpk = try GLPK(program.program)
    try glpk.writeLP(to: path)
  }
}
