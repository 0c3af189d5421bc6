/** Whether the image of a build may go where it is to go; asked before anybody waits for it. */
import type { AccountActor } from '../accounts/actor.ts'
import { requireFullAccount } from '../accounts/permissions.ts'
import { parseEntityName } from '../content/names.ts'
import type { NameDefaults } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { denied, invalid } from '../failure.ts'
import { ephemeralTarget, parseTarget } from './target.ts'
import type { Target } from './target.ts'

export interface WantedTarget {
  /** Empty: nobody named a target. */
  readonly libraryRef: string
  /** The library it is meant for, when the client says so. */
  readonly libraryUrl: string | undefined
}

export interface TargetParts {
  readonly registry: Registry
  readonly defaults: NameDefaults
  /** Origins under which this site's library is known. */
  readonly libraryUrls: readonly string[]
}

/** Throws `invalid`, `denied`, or `over-quota` for a space that takes nothing any more. */
export async function chooseTarget(
  account: AccountActor,
  id: string,
  { libraryRef, libraryUrl }: WantedTarget,
  { registry, defaults, libraryUrls }: TargetParts,
): Promise<{ readonly target: Target; readonly ephemeral: boolean }> {
  const hosts = libraryUrls.map((url) => new URL(url).host)
  if (libraryUrl !== undefined && !hosts.includes(hostOf(libraryUrl))) {
    const text = `This builder stores images in ${libraryUrls[0]} only, not in ${libraryUrl.slice(0, 200)}.`
    throw invalid('build', text)
  }
  const ephemeral = libraryRef === ''
  const target = ephemeral
    ? ephemeralTarget(account.name, id, defaults)
    : parseTarget(libraryRef, defaults, hosts)
  parseEntityName(target.entity)
  if (!ephemeral) requireFullAccount(account)
  // A credential for building only may not push, and the default target is its way to build.
  if (!(await registry.mayPush({ ...account, scope: 'all' }, target.entity))) {
    throw denied(
      'entity',
      `You may not push to "${target.entity}": you are signed in as ${account.name}, and your own space is library://${account.name}/…`,
    )
  }
  // How much the image will have nobody knows; a space that takes nothing will not take it either.
  await registry.roomIn(target.entity)
  return { target, ephemeral }
}

function hostOf(url: string): string {
  try {
    return new URL(url).host
  } catch {
    throw invalid('build', `"${url.slice(0, 200)}" is not the address of a library.`)
  }
}
