#!/usr/bin/env bash
# `npm test`: installs what is missing, checks, builds, and runs all tests. The last line is "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
  echo "npm test: the tests mount file systems: run them as root" >&2
  exit 1
fi

missing=$(grep -v '^#' test/packages.txt | while read -r package; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
done)
if [ -n "$missing" ]; then
  echo "installing: $missing" | tr '\n' ' '
  echo
  apt-get update -q >/dev/null
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
fi

[ -d node_modules ] || npm install --no-save --no-audit --no-fund --loglevel=error
npm run --silent lint
npm run --silent typecheck
npm run --silent build

results=$(mktemp)
programs=$(mktemp -d)
trap 'rm -rf "$results" "$programs"' EXIT
# Debian's own, which test/packages.txt names: a version manager's stand-in takes eight times as long to start.
ln -s /usr/bin/python3 "$programs/python3"
export PATH="$programs:$PATH"
status=0
# Each has a core, as guests that are starved do not what they would. See vitest.config.ts for the rest.
npx vitest run --maxWorkers="${SLASHCLOUD_TEST_WORKERS:-2}" --reporter=default --reporter=json --outputFile.json="$results" "$@" || status=$?
node -e '
  const { numPassedTests, numFailedTests, numFailedTestSuites, numTotalTests } = JSON.parse(
    require("node:fs").readFileSync(process.argv[1], "utf8"));
  // A file that could not be loaded has no tests of its own to fail.
  const failed = numFailedTests || (numFailedTestSuites > 0 || numTotalTests === 0 ? 1 : 0);
  console.log(`${numPassedTests} passed, ${failed} failed`);
' "$results" || echo "0 passed, 1 failed"
exit "$status"
