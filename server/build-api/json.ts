/** Builds as clients see them (protocol.md 8.4, enterprise.md 8.5). */
import type { BuildRow, BuildState } from '../builds/build-rows.ts'
import type { Place } from '../builds/builds.ts'
import { describeDefinition } from '../builds/definition/description.ts'
import { parseDefinition } from '../builds/definition/parse.ts'
import { referenceOf } from '../builds/target.ts'
import { libraryHashOf, parseDigest } from '../content/names.ts'

export interface Addresses {
  readonly library: string
  readonly builder: string
}

/** Go's zero time: what clients of Go structures take for "not yet". */
const never = '0001-01-01T00:00:00Z'

const statuses = {
  queued: 'Pending',
  starting: 'InProgress',
  running: 'InProgress',
  succeeded: 'Complete',
  failed: 'Complete',
  cancelled: 'Cancelled',
} as const satisfies Record<BuildState, string>

/** Reading a definition takes time; a list has a thousand of them. */
const maxReadInLists = 8 * 1024

/** In a list; `definition` is missing where it is long. */
export function listedBuildJson(build: BuildRow, addresses: Addresses): object {
  const isShort = build.definition.length <= maxReadInLists
  return { ...plainJson(build, addresses), ...(isShort ? definitionJson(build) : {}) }
}

export function buildJson(build: BuildRow, addresses: Addresses, place?: Place): object {
  return {
    ...plainJson(build, addresses),
    ...definitionJson(build),
    ...(place === undefined ? {} : { queue: place }),
  }
}

function definitionJson({ definition, buildArgs }: BuildRow): object {
  return { definition: describeDefinition(parseDefinition(definition, buildArgs)) }
}

function plainJson(build: BuildRow, { library, builder }: Addresses): object {
  const deleted = build.deletedAt !== null
  return {
    id: build.id,
    createdBy: build.accountId,
    createdByName: build.accountName,
    submitTime: build.submittedAt.toISOString(),
    startTime: build.startedAt?.toISOString() ?? never,
    completeTime: build.endedAt?.toISOString() ?? never,
    isComplete: build.endedAt !== null,
    // Stock clients know a failed build by the size 0.
    imageSize: build.state === 'succeeded' ? build.imageBytes : 0,
    imageChecksum:
      build.state === 'succeeded' && build.imageDigest !== null
        ? libraryHashOf(parseDigest(build.imageDigest))
        : '',
    libraryRef: referenceOf(build),
    libraryURL: library,
    wsURL: `${builder.replace(/^http/, 'ws')}/v1/build-ws/${build.id}`,
    callbackURL: '',
    buildRecipe: build.definition,
    definitionRaw: Buffer.from(build.definition).toString('base64'),
    status: deleted ? 'Deleted' : statuses[build.state],
    deleted,
    // What only Berth's own clients and pages read.
    state: build.state,
    reason: build.reason,
    arch: build.arch,
    ephemeral: build.ephemeral,
    builder: build.builder ?? '',
    attempts: build.attempts,
    cancelRequested: build.cancelRequestedAt !== null,
    outputSize: build.outputBytes,
  }
}
