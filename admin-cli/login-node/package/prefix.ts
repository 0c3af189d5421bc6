/**
 * What is copied to a login node, laid out as an install prefix: one executable, links to it, and
 * the files around it, with the site's name and address written into them.
 */
import { chmod, copyFile, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { stringify as stringifyToml } from 'smol-toml'
import { stringify as stringifyYaml } from 'yaml'

import { packageRoot } from '../../../server/package-root.ts'
import { loginTools } from '../../login-tools.ts'
import { uriOf } from '../../remote-yaml.ts'

export interface LoginNode {
  readonly url: URL
  /** The site's name, which is that of its entry in remote.yaml as well. */
  readonly site: string
  /** Where it is installed: an absolute path, for the modules. */
  readonly prefix: string
  /** The clients of the login nodes may use this endpoint only. */
  readonly exclusive: boolean
  /** Berth's own, which becomes that of the modules. */
  readonly version: string
}

/** Fills an empty directory; the modes do not depend on the umask. */
export async function writePrefix(
  directory: string,
  executable: string,
  node: LoginNode,
): Promise<void> {
  const put = async (path: string, text: string, mode = 0o644): Promise<void> => {
    const file = join(directory, path)
    await makeDirectory(directory, dirname(path))
    await writeFile(file, text)
    await chmod(file, mode)
  }
  const putTemplate = async (name: string, path: string, mode?: number): Promise<void> => {
    await put(path, fill(await readTemplate(name), node), mode)
  }

  await makeDirectory(directory, 'libexec')
  await copyFile(executable, join(directory, 'libexec/berth-login-tools'))
  const launcher = join(packageRoot, 'admin-cli/bin/login-tool')
  await put('bin/berth-login-tool', await readFile(launcher, 'utf8'), 0o755)
  for (const name of loginTools) await symlink('berth-login-tool', join(directory, 'bin', name))
  for (const client of ['singularity', 'apptainer']) {
    await putTemplate('wrapper.sh', `wrapper/${client}`, 0o755)
  }
  for (const name of loginTools) {
    await putTemplate(`man/${name}.1`, `share/man/man1/${name}.1`)
    await putTemplate('completion.bash', `share/bash-completion/completions/${name}`)
  }
  await putTemplate('completion.zsh', 'share/zsh/site-functions/_berth_login_tools')
  await putTemplate('module.tcl', `modulefiles/berth/${node.version}`)
  await putTemplate('module.lua', `lmod/berth/${node.version}.lua`)
  await put('etc/client.toml', stringifyToml({ url: node.url.origin }))
  await put('etc/remote.yaml', remoteYaml(node))
}

/** The system-wide list of endpoints: `System` entries come before those of the users. */
function remoteYaml({ url, site, exclusive }: LoginNode): string {
  const entry = { URI: uriOf(url), System: true, Exclusive: exclusive }
  const insecure = url.protocol === 'http:' ? { Insecure: true } : {}
  return stringifyYaml({ Active: site, Remotes: { [site]: { ...entry, ...insecure } } })
}

async function readTemplate(name: string): Promise<string> {
  return await readFile(join(packageRoot, 'admin-cli/login-node/package', name), 'utf8')
}

function fill(template: string, { url, site, prefix, version }: LoginNode): string {
  const values: Readonly<Record<string, string>> = { url: url.origin, site, prefix, version }
  return template.replace(/@(url|site|prefix|version)@/g, (_, name: string) => values[name] ?? '')
}

/** With the directories above it, below the prefix. */
async function makeDirectory(prefix: string, path: string): Promise<void> {
  let directory = prefix
  for (const part of path.split('/')) {
    directory = join(directory, part)
    await mkdir(directory, { recursive: true })
    await chmod(directory, 0o755)
  }
}
