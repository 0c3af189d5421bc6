/** The login node before Berth comes to it: Apptainer, modules, people with homes. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

import type { Site } from './site.ts'

const people = ['alice', 'bob'] as const

export async function openLoginNode(site: Site): Promise<void> {
  const { images } = site.materials
  const apptainer = readdirSync(join(images, 'packages')).find((name) =>
    name.startsWith('apptainer_'),
  )
  await site.hosts.login.must(
    [
      'apt-get -qq update',
      `DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends environment-modules bash-completion busybox-static squashfuse curl /srv/packages/${apptainer} >/dev/null`,
      ...people.map(
        (name) =>
          `useradd --create-home --shell /bin/bash ${name} && install -d -m 700 -o ${name} -g ${name} /home/${name}/.ssh && install -m 600 -o ${name} -g ${name} /root/.ssh/authorized_keys /home/${name}/.ssh/`,
      ),
      // Apptainer mounts it into containers.
      'ln -sf /usr/share/zoneinfo/Asia/Tokyo /etc/localtime',
    ].join(' && '),
    { seconds: 180 },
  )
}
