/** The commands of the login nodes, under the names by which people call them. */
import { basename } from 'node:path'

import type { ClientName } from './client-programs.ts'
import { enterprise } from './enterprise/command.ts'
import { runCommand, UsageError } from './exit.ts'
import { getSingularityToken } from './login-node/get-singularity-token.ts'
import { listSingularityTokens } from './login-node/list-singularity-tokens.ts'
import { showContainerLibraryUsage } from './login-node/show-container-library-usage.ts'
import { remoteBuild } from './remote-build/command.ts'

const tools: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  get_singularity_token: getSingularityToken,
  list_singularity_tokens: listSingularityTokens,
  show_container_library_usage: showContainerLibraryUsage,
  'berth-singularity': singularity,
}

export const loginTools: readonly string[] = Object.keys(tools)

/** Runs the command of this name; what goes wrong is one line on standard error and the exit status. */
export async function loginTool(name: string, args: readonly string[]): Promise<void> {
  const tool = Object.hasOwn(tools, name) ? tools[name] : undefined
  const called = name === 'berth-singularity' ? 'singularity' : name
  await runCommand(called, async () => {
    if (tool !== undefined) return await tool(args)
    throw new UsageError(`"${basename(name)}" is none of: ${loginTools.join(', ')}.`)
  })
}

/** What the wrapper around singularity and apptainer does not hand on to the real program. */
async function singularity(args: readonly string[]): Promise<void> {
  const [verb, ...rest] = args
  if (verb === 'enterprise') return await enterprise(clientName(), rest)
  if (verb === 'build') {
    const called = process.env['BERTH_CLIENT'] ?? 'berth-singularity'
    return await remoteBuild(clientName(), called, rest)
  }
  throw new UsageError('Say "enterprise" or "build": everything else is the real program\'s.')
}

/** The wrapper says under which name it was called: that one's remote.yaml is looked at first. */
function clientName(): ClientName {
  return process.env['BERTH_CLIENT'] === 'apptainer' ? 'apptainer' : 'singularity'
}
