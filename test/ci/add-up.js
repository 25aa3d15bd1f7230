// Adds up vitest's JSON results: `node add-up.js FILE...`. Prints a line per run and per file of the official suite, and
// last `tests: N passed, N failed`. Exits with 1 when a test, a file or a whole run failed, or when a run ran nothing.
import { readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */
/** @typedef {{ name: string, status: string, assertionResults: { status: string }[] }} FileResult */

/** @param {readonly FileResult[]} files @returns {Counts} */
function count(files) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { status, assertionResults } of files) {
    const failed = assertionResults.filter((test) => test.status === "failed").length;
    const passed = assertionResults.filter((test) => test.status === "passed").length;
    // A file that cannot be loaded has no tests and failed all the same.
    counts.failed += failed === 0 && status === "failed" ? 1 : failed;
    counts.passed += passed;
    counts.skipped += assertionResults.length - passed - failed;
  }
  return counts;
}

/** @param {Counts} counts */
const told = ({ passed, failed, skipped }) =>
  `${passed + failed} run, ${passed} passed, ${failed} failed, ${skipped} left out`;

/** @param {string} file @returns {Counts} */
function addRun(file) {
  const run = path.basename(file, ".json");
  try {
    const { testResults, success } = JSON.parse(readFileSync(file, "utf8"));
    const counts = count(testResults);
    for (const one of testResults) {
      if (one.name.includes("/conformance/"))
        console.log(`${run}: official suite, ${path.basename(one.name)}: ${told(count([one]))}`);
    }
    console.log(`${run}: ${told(counts)}`);
    const ranNothing = counts.passed + counts.failed === 0;
    return { ...counts, failed: counts.failed === 0 && (ranNothing || !success) ? 1 : counts.failed };
  } catch (error) {
    console.log(`${run}: no results (${String(error)})`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

const total = { passed: 0, failed: 0 };
for (const file of process.argv.slice(2)) {
  const counts = addRun(file);
  total.passed += counts.passed;
  total.failed += counts.failed;
}
console.log(`tests: ${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
