/**
 * A batch system for tests: qsub, qstat and qdel, or sbatch, squeue and scancel, as small programs over
 * a directory. A job waits while the file `hold` is there.
 */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const submit = (home: string): string => `#!/bin/sh
set -e
cd ${home}
printf '%s\\n' "$*" >> submitted
number=$(($(ls -d jobs/* 2>/dev/null | wc -l) + 1))
mkdir -p jobs/$number
cat > jobs/$number/script
(
  while [ -e hold ] && [ ! -e jobs/$number/deleted ]; do sleep 0.1; done
  [ -e jobs/$number/deleted ] || setsid sh -c 'echo $$ > jobs/'$number'/pid; exec sh jobs/'$number'/script' || true
  touch jobs/$number/ended
) > /dev/null 2>&1 < /dev/null &
echo "$number"
`

const look = (home: string, pending: string, running: string, unknown: string): string => `#!/bin/sh
cd ${home}
for number; do :; done
number=\${number##*=}
if [ ! -d jobs/$number ] || [ -e jobs/$number/ended ]; then ${unknown}; fi
if [ -e jobs/$number/pid ]; then echo '${running}'; else echo '${pending}'; fi
`

const remove = (home: string): string => `#!/bin/sh
cd ${home}
for number; do :; done
signal=TERM
case "$*" in *force*|*KILL*) signal=KILL ;; esac
touch jobs/$number/deleted
[ ! -e jobs/$number/pid ] || kill -$signal "$(cat jobs/$number/pid)" 2>/dev/null
exit 0
`

/** Makes the commands in `<home>/bin` and returns that directory. */
export function makeBatchCommands(home: string): string {
  const bin = join(home, 'bin')
  mkdirSync(join(home, 'jobs'), { recursive: true })
  mkdirSync(bin)
  const commands = {
    qsub: submit(home),
    qstat: look(
      home,
      '    job_state = Q\n    comment = Not Running: no free node',
      '    job_state = R',
      'echo "qstat: Unknown Job Id $number" >&2; exit 153',
    ),
    qdel: remove(home),
    sbatch: submit(home),
    squeue: look(
      home,
      'PENDING Resources',
      'RUNNING None',
      'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1',
    ),
    scancel: remove(home),
  }
  for (const [name, text] of Object.entries(commands)) {
    writeFileSync(join(bin, name), text)
    chmodSync(join(bin, name), 0o755)
  }
  return bin
}
