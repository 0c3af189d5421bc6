/** The builder's pages: how to build here, the queue, and one build. */
import type { ComponentChildren, VNode } from 'preact'

import type { BuilderSettings } from '../builder-settings.ts'
import type { BuildRow, BuildState } from '../builds/build-rows.ts'
import type { Place } from '../builds/builds.ts'
import type { QueuedBuild, QueueView } from '../builds/queue-view.ts'
import { referenceOf } from '../builds/target.ts'
import { Layout } from './layout.tsx'
import type { Site } from './pages.tsx'

const stateNames: Readonly<Record<BuildState, string>> = {
  queued: 'waits',
  starting: 'starts',
  running: 'runs',
  succeeded: 'done',
  failed: 'failed',
  cancelled: 'cancelled',
}

export interface BuildsPageProps {
  readonly site: Site
  readonly settings: BuilderSettings
  /** Undefined where this reader may not see it. */
  readonly queue: QueueView | undefined
}

export function BuildsPage({ site, settings, queue }: BuildsPageProps): VNode {
  if (!settings.enabled) return <NoBuilderPage site={site} />
  return (
    <Layout site={site.name} title="Builds">
      <p>
        {site.name} builds images from definition files for people who are{' '}
        <a href="/auth/tokens">signed in</a>. The image lands in the library, and in a file of yours
        if you name one:
      </p>
      <Commands
        lines={[
          'singularity build --remote image.sif image.def',
          'singularity build --remote library://USER/COLLECTION/NAME:TAG image.def',
          'singularity build --remote --detached image.sif image.def',
        ]}
      />
      <p class="soft">
        With Apptainer write <code>apptainer</code>, after <code>module load</code> of the site’s
        module. It has also <code>apptainer build --remote list</code>.
      </p>
      {queue === undefined ? (
        <p>The queue is shown to people who are signed in.</p>
      ) : (
        <Queue queue={queue} />
      )}
      <Rules settings={settings} />
    </Layout>
  )
}

function NoBuilderPage({ site }: { site: Site }): VNode {
  return (
    <Layout site={site.name} title="Builds">
      <p>{site.name} has no builder: build on your own machine and push the image.</p>
      <Commands
        lines={[
          'singularity build --fakeroot image.sif image.def',
          'singularity push -U image.sif library://USER/COLLECTION/NAME:TAG',
        ]}
      />
    </Layout>
  )
}

function Queue({ queue }: { queue: QueueView }): VNode {
  return (
    <>
      <h2>Queue</h2>
      <p>
        {countOf(queue.running, 'runs', 'run')} now, {countOf(queue.waiting, 'waits', 'wait')}.
      </p>
      <Table head={['Builder', 'Architectures', 'At work', 'State']}>
        {queue.builders.map(({ name, archs, slots, busy, isAvailable, reason }) => (
          <tr>
            <td>{name}</td>
            <td>{archs.join(', ')}</td>
            <td>{`${busy} of ${slots}`}</td>
            <td>{isAvailable ? 'available' : `not available${reason && `: ${reason}`}`}</td>
          </tr>
        ))}
      </Table>
      {queue.builds.length === 0 ? null : (
        <Table
          head={['Place', 'Build', 'Of', 'Architecture', 'State', 'Submitted (UTC)', 'Started']}
        >
          {queue.builds.map((build) => (
            <QueueRow build={build} />
          ))}
        </Table>
      )}
    </>
  )
}

function QueueRow({ build }: { build: QueuedBuild }): VNode {
  const { id, account, place, arch, state, submittedAt, startedAt } = build
  return (
    <tr>
      <td>{place ?? ''}</td>
      <td>{id === undefined ? '' : <a href={`/builds/${id}`}>{id}</a>}</td>
      <td>{account ?? <span class="soft">somebody else</span>}</td>
      <td>{arch}</td>
      <td>{stateNames[state]}</td>
      <td>
        <ShortTime time={submittedAt} />
      </td>
      <td>{startedAt === null ? null : <ShortTime time={startedAt} />}</td>
    </tr>
  )
}

/** 11-21 15:03 */
function ShortTime({ time }: { time: Date }): VNode {
  const text = time.toISOString()
  return <time datetime={text}>{text.slice(5, 16).replace('T', ' ')}</time>
}

function Rules({ settings }: { settings: BuilderSettings }): VNode {
  const period = minutes(settings.secondsPerPeriod)
  return (
    <>
      <h2>Rules</h2>
      <ul>
        <li>Whoever has had least of the builders is next.</li>
        <li>
          {`Everybody may have ${settings.runningPerUser} at work at a time, and ${settings.queuedPerUser} in the queue.`}
        </li>
        <li>
          {`A build takes ${minutes(settings.secondsPerBuild)} at the most`}
          {settings.secondsPerPeriod === 0
            ? '.'
            : `, and all builds of an account together ${period} in ${settings.periodHours} hours.`}
        </li>
        <li>
          {`Definition files may begin from: ${settings.agents.join(', ')}.`}
          {settings.allowedHosts.length === 0
            ? ''
            : ` Builds reach ${settings.allowedHosts.join(', ')}.`}
        </li>
        <li>
          {`An image that nobody named is kept for ${settings.keepEphemeralHours} hours, the output of a build for ${settings.keepOutputDays} days.`}
        </li>
      </ul>
    </>
  )
}

/** For whoever is not signed in: the same for every ID, whether there is such a build or not. */
export function BuildCommandsPage({ site, id }: { site: Site; id: string }): VNode {
  return (
    <Layout site={site.name} title="A build">
      <p>
        Only its owner sees what became of a build. On a login node,{' '}
        <a href="/auth/tokens">signed in</a>:
      </p>
      <BuildCommands id={id} />
      <p>
        What happens on all builders, and how to build, is on the page about{' '}
        <a href="/builds">builds</a>.
      </p>
    </Layout>
  )
}

export interface BuildPageProps {
  readonly site: Site
  readonly build: BuildRow
  readonly place: Place | undefined
  /** The last of its output. */
  readonly output: string
  /** Bytes of output before that. */
  readonly before: number
}

export function BuildPage({ site, build, place, output, before }: BuildPageProps): VNode {
  const facts: readonly (readonly [string, string])[] = [
    ['State', stateNames[build.state]],
    ['Reason', build.reason],
    ['Queue', place === undefined ? '' : placeText(place)],
    ['Of', build.accountName],
    ['Architecture', build.arch],
    ['Builder', build.builder ?? ''],
    ['Submitted', timeOf(build.submittedAt)],
    ['Started', build.startedAt === null ? '' : timeOf(build.startedAt)],
    ['Ended', build.endedAt === null ? '' : timeOf(build.endedAt)],
    ['Image', referenceOf(build)],
  ]
  return (
    <Layout site={site.name} title={`Build ${build.id}`}>
      <table>
        <tbody>
          {facts
            .filter(([, value]) => value !== '')
            .map(([name, value]) => (
              <tr>
                <th>{name}</th>
                <td>{value}</td>
              </tr>
            ))}
        </tbody>
      </table>
      {build.state === 'succeeded' ? (
        <Commands lines={[`singularity pull ${referenceOf(build)}`]} />
      ) : (
        <BuildCommands id={build.id} />
      )}
      <h2>Output</h2>
      {before > 0 ? <p class="soft">{`After the first ${before} bytes:`}</p> : null}
      {output === '' ? (
        <p>There is none.</p>
      ) : (
        <pre>
          <code>{plainText(output)}</code>
        </pre>
      )}
      <h2>Definition file</h2>
      <pre>
        <code>{plainText(build.definition)}</code>
      </pre>
    </Layout>
  )
}

function BuildCommands({ id }: { id: string }): VNode {
  const verbs = ['status', 'output', 'cancel']
  return <Commands lines={verbs.map((verb) => `apptainer build --remote ${verb} ${id}`)} />
}

function Commands({ lines }: { lines: readonly string[] }): VNode {
  return (
    <pre>
      <code>{lines.join('\n')}</code>
    </pre>
  )
}

function Table(props: { head: readonly string[]; children: ComponentChildren }): VNode {
  return (
    <table>
      <thead>
        <tr>
          {props.head.map((title) => (
            <th>{title}</th>
          ))}
        </tr>
      </thead>
      <tbody>{props.children}</tbody>
    </table>
  )
}

function placeText({ position, waiting, reason }: Place): string {
  return position === 0 ? reason : `place ${position} of ${waiting}: ${reason}`
}

function countOf(count: number, one: string, more: string): string {
  if (count === 0) return `no build ${one}`
  return count === 1 ? `1 build ${one}` : `${count} builds ${more}`
}

function minutes(seconds: number): string {
  const value = Math.round(seconds / 60)
  return value === 1 ? 'a minute' : `${value} minutes`
}

/** 2026-11-21 15:03 UTC */
function timeOf(time: Date): string {
  return `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`
}

/** CSI and the two-byte escapes of ECMA-48: colours and movements. */
const escapes = new RegExp(String.raw`\u001B(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])`, 'g')

/** Without what only a terminal understands; of a line that was written over, the last state. */
function plainText(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replaceAll(escapes, '')
    .replaceAll(/[^\n]*\r/g, '')
    .replaceAll(/[^\P{Cc}\n\t]/gu, '')
}
