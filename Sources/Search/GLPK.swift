// SPDX-License-Identifier: GPL-3.0-or-later
import CGLPK

/// A GLPK problem object. It is created, solved and freed on one thread (GLPK keeps its memory per thread), which `~Copyable` and the absence
/// of any suspension point in this module ensure. A fatal error inside GLPK frees its whole environment on the thread and is thrown.
struct GLPK: ~Copyable {
  enum Status {
    case optimal, infeasible
    /// Stopped, by the time limit or on request, with or without a solution.
    case feasible, stopped
    /// Given up on numerical grounds.
    case failed
  }

  struct Solution {
    let status: Status
    let objective: Double
    /// A lower bound on the objective; −infinity where none is known.
    let bound: Double
    /// By column; empty unless optimal or feasible.
    let values: [Double]
    let branchNodes: Int
  }

  private var problem: OpaquePointer?
  private var columnCount = 0
  private var rowCount = 0
  private var hasInteger = false

  /// `glp_create_prob`, `glp_add_cols`, `glp_add_rows`, `glp_load_matrix`.
  init(_ program: LinearProgram) throws(SearchError) {
    glp_term_out(GLP_OFF)
    problem = glp_create_prob()
    glp_set_obj_dir(problem, GLP_MIN)
    if !program.columns.isEmpty { try check(cglpk_add_cols(problem, Int32(program.columns.count)), "glp_add_cols") }
    columnCount = program.columns.count
    for (index, column) in program.columns.enumerated() {
      let number = Int32(index + 1)
      if let name = column.name { glp_set_col_name(problem, number, name) }
      glp_set_obj_coef(problem, number, column.cost)
      if column.kind == .binary {
        glp_set_col_kind(problem, number, GLP_BV)
        hasInteger = true
      } else {
        setColumnBounds(number, column)
      }
    }
    if !program.rows.isEmpty { try check(cglpk_add_rows(problem, Int32(program.rows.count)), "glp_add_rows") }
    var (rows, columns, values): ([Int32], [Int32], [Double]) = ([0], [0], [0])
    for (index, row) in program.rows.enumerated() {
      setRow(Int32(index + 1), row)
      for term in row.terms {
        rows.append(Int32(index + 1))
        columns.append(Int32(term.column + 1))
        values.append(term.value)
      }
    }
    rowCount = program.rows.count
    try check(cglpk_load_matrix(problem, Int32(rows.count - 1), rows, columns, values), "glp_load_matrix")
  }

  deinit {
    if let problem { glp_delete_prob(problem) }
  }

  /// `glp_add_rows` and `glp_set_mat_row`.
  mutating func add(_ row: LinearProgram.Row) throws(SearchError) {
    try check(cglpk_add_rows(problem, 1), "glp_add_rows")
    rowCount += 1
    setRow(Int32(rowCount), row)
    let columns = [0] + row.terms.map { Int32($0.column + 1) }
    let values = [0] + row.terms.map(\.value)
    try check(cglpk_set_mat_row(problem, Int32(rowCount), Int32(row.terms.count), columns, values), "glp_set_mat_row")
  }

  /// The program without integrality: `glp_simplex`, from the last basis.
  mutating func solveRelaxation(stop: StopCondition, iterations: Int? = nil) throws(SearchError) -> Solution {
    var parameters = glp_smcp()
    glp_init_smcp(&parameters)
    parameters.msg_lev = GLP_MSG_OFF
    parameters.tm_lim = Int32(clamping: stop.millisecondsLeft)
    if let iterations { parameters.it_lim = Int32(clamping: iterations) }
    var code: Int32 = 0
    try check(cglpk_simplex(problem, &parameters, &code), "glp_simplex")
    let status = glp_get_status(problem)
    guard code == 0 || code == GLP_ETMLIM || code == GLP_EITLIM else {
      // A singular or badly conditioned basis is not an answer; the caller goes on without it.
      return Solution(status: .failed, objective: 0, bound: -.infinity, values: [], branchNodes: 0)
    }
    let objective = glp_get_obj_val(problem)
    switch status {
    case GLP_OPT: return Solution(status: .optimal, objective: objective, bound: objective, values: primalValues(), branchNodes: 0)
    case GLP_NOFEAS: return Solution(status: .infeasible, objective: .infinity, bound: .infinity, values: [], branchNodes: 0)
    default: return Solution(status: .stopped, objective: objective, bound: -.infinity, values: [], branchNodes: 0)
    }
  }

  /// `glp_intopt` with GLPK's presolver and default options.
  /// - Parameters:
  ///   - stopsAt: the search ends, with status stopped or feasible, once nothing below this objective is left.
  ///   - limit: bounds the work; nil: only `stop` does.
  mutating func solveInteger(
    stop: StopCondition, stopsAt: Double, presolves: Bool = true, limit: SolveOptions.ProgramLimit? = nil
  ) throws(SearchError) -> Solution {
    guard hasInteger else { return try solveRelaxation(stop: stop) }
    let presolves = presolves && limit == nil
    if !presolves {
      let root = try solveRelaxation(stop: stop, iterations: limit?.iterations)
      guard root.status == .optimal else { return root }
    }
    var progress = Progress(stopsAt: stopsAt, stop: stop, mostNodes: limit?.branchNodes ?? .max)
    var parameters = glp_iocp()
    glp_init_iocp(&parameters)
    parameters.msg_lev = GLP_MSG_OFF
    parameters.presolve = presolves ? GLP_ON : GLP_OFF
    parameters.tm_lim = Int32(clamping: stop.millisecondsLeft)
    parameters.cb_func = { tree, info in
      guard let progress = info?.assumingMemoryBound(to: Progress.self), glp_ios_reason(tree) == GLP_ISELECT else { return }
      progress.pointee.branchNodes += 1
      let node = glp_ios_best_node(tree)
      guard node != 0 else { return }
      progress.pointee.bound = glp_ios_node_bound(tree, node)
      if progress.pointee.bound >= progress.pointee.stopsAt || progress.pointee.stop.isReached
        || progress.pointee.branchNodes > progress.pointee.mostNodes
      {
        glp_ios_terminate(tree)
      }
    }
    var code: Int32 = 0
    let failed = withUnsafeMutablePointer(to: &progress) { progress in
      parameters.cb_info = UnsafeMutableRawPointer(progress)
      return cglpk_intopt(problem, &parameters, &code)
    }
    try check(failed, "glp_intopt")
    return integerSolution(code: code, progress: progress)
  }

  /// `glp_mip_status`, `glp_mip_obj_val`, `glp_mip_col_val`.
  private func integerSolution(code: Int32, progress: Progress) -> Solution {
    let nodes = progress.branchNodes
    if code == GLP_ENOPFS { return Solution(status: .infeasible, objective: .infinity, bound: .infinity, values: [], branchNodes: nodes) }
    guard code == 0 || code == GLP_ETMLIM || code == GLP_ESTOP || code == GLP_EMIPGAP else {
      return Solution(status: .failed, objective: .infinity, bound: -.infinity, values: [], branchNodes: nodes)
    }
    let objective = glp_mip_obj_val(problem)
    switch glp_mip_status(problem) {
    case GLP_OPT: return Solution(status: .optimal, objective: objective, bound: objective, values: integerValues(), branchNodes: nodes)
    case GLP_FEAS:
      return Solution(status: .feasible, objective: objective, bound: min(objective, progress.bound), values: integerValues(), branchNodes: nodes)
    case GLP_NOFEAS: return Solution(status: .infeasible, objective: .infinity, bound: .infinity, values: [], branchNodes: nodes)
    default: return Solution(status: .stopped, objective: .infinity, bound: progress.bound, values: [], branchNodes: nodes)
    }
  }

  /// `glp_write_lp`: the program as CPLEX LP text.
  mutating func writeLP(to path: String) throws(SearchError) {
    var code: Int32 = 0
    try check(cglpk_write_lp(problem, path, &code), "glp_write_lp")
    guard code == 0 else { throw .cannotWrite(path: path) }
  }

  /// What `glp_intopt` tells on its way.
  private struct Progress {
    let stopsAt: Double
    let stop: StopCondition
    let mostNodes: Int
    var bound = -Double.infinity
    var branchNodes = 0
  }

  /// `glp_get_col_prim`, `glp_mip_col_val`
  private func primalValues() -> [Double] { (0..<columnCount).map { glp_get_col_prim(problem, Int32($0 + 1)) } }
  private func integerValues() -> [Double] { (0..<columnCount).map { glp_mip_col_val(problem, Int32($0 + 1)) } }

  /// Throws after a fatal error; GLPK has freed everything then, this problem too.
  private mutating func check(_ failed: Int32, _ function: String) throws(SearchError) {
    guard failed != 0 else { return }
    problem = nil
    throw .solverFailed(function: function, code: Int(failed))
  }

  /// `glp_set_col_bnds`
  private func setColumnBounds(_ number: Int32, _ column: LinearProgram.Column) {
    if let upper = column.upper {
      glp_set_col_bnds(problem, number, upper == column.lower ? GLP_FX : GLP_DB, column.lower, upper)
    } else {
      glp_set_col_bnds(problem, number, column.lower == -.infinity ? GLP_FR : GLP_LO, column.lower == -.infinity ? 0 : column.lower, 0)
    }
  }

  /// `glp_set_row_bnds`
  private func setRow(_ number: Int32, _ row: LinearProgram.Row) {
    if let name = row.name { glp_set_row_name(problem, number, name) }
    switch (row.lower, row.upper) {
    case (let lower?, let upper?): glp_set_row_bnds(problem, number, lower == upper ? GLP_FX : GLP_DB, lower, upper)
    case (let lower?, nil): glp_set_row_bnds(problem, number, GLP_LO, lower, 0)
    case (nil, let upper?): glp_set_row_bnds(problem, number, GLP_UP, 0, upper)
    case (nil, nil): glp_set_row_bnds(problem, number, GLP_FR, 0, 0)
    }
  }
}
