# The image of a worker: docs/image.md says what is in it and why.
#
#     parallelize image build

locals {
  base = var.bases[var.base]

  # EC2's word for an architecture, which is not Debian's.
  ec2_architecture = { "amd64" = "x86_64", "arm64" = "arm64" }[var.architecture]

  stamp = formatdate("YYYYMMDD-hhmmss", timestamp())
  name  = "parallelize-${var.agent_version}-${var.base}-${var.architecture}-${local.stamp}"

  # `launch` takes the newest image of the account with the tag parallelize:version.
  tags = merge(var.tags, {
    "Name"                     = local.name
    "parallelize:version"      = var.agent_version
    "parallelize:base"         = var.base
    "parallelize:architecture" = var.architecture
  })

  build_tags = merge(var.tags, { "Name" = "building ${local.name}" })

  stage = "/tmp/parallelize-image"
}

source "amazon-ebs" "worker" {
  region        = var.region
  subnet_id     = var.subnet_id
  instance_type = var.instance_types[var.architecture]

  source_ami_filter {
    owners      = [local.base.owner]
    most_recent = true
    filters = {
      name                = replace(local.base.name, "%s", var.architecture)
      architecture        = local.ec2_architecture
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }

  # SSH with a key that lives as long as the build, from the address of the builder only.
  communicator                              = "ssh"
  ssh_username                              = local.base.username
  temporary_key_pair_type                   = "ed25519"
  temporary_security_group_source_public_ip = true

  # IMDSv2 while building, and for every machine that starts from the image.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
  imds_support = "v2.0"

  ami_name              = local.name
  ami_description       = "A worker of parallelize ${var.agent_version}"
  ena_support           = true
  encrypt_boot          = true
  kms_key_id            = var.kms_key_id
  force_delete_snapshot = true

  launch_block_device_mappings {
    device_name           = local.base.device
    volume_type           = "gp3"
    volume_size           = var.volume_gib != null ? var.volume_gib : local.base.volume_gib
    iops                  = 3000 # what gp3 has at no extra price
    throughput            = 125
    delete_on_termination = true
  }

  tags            = local.tags
  snapshot_tags   = local.tags
  run_tags        = local.build_tags
  run_volume_tags = local.build_tags
}

build {
  sources = ["source.amazon-ebs.worker"]

  provisioner "shell" {
    inline = ["mkdir -p ${local.stage}"]
  }

  provisioner "file" {
    sources = [
      "${path.root}/provision",
      "${path.root}/requirements.txt",
      "${path.root}/../systemd",
      "${path.root}/../docs/image.md",
      var.wheel,
    ]
    destination = "${local.stage}/"
  }

  provisioner "shell" {
    environment_vars = [
      "EXTRA_PACKAGES=${var.extra_packages}",
      "EXTRA_REQUIREMENTS=${var.extra_requirements}",
      "GPU=${local.base.gpu}",
    ]
    execute_command = "sudo env {{ .Vars }} sh '{{ .Path }}'"
    inline_shebang  = "/bin/sh -eu"
    inline = [
      # The last step has checked the machine; nothing but its own files may change after it.
      "sh ${local.stage}/provision/all.sh",
      "rm -rf ${local.stage}",
    ]
  }

  post-processor "manifest" {
    output     = var.manifest
    strip_path = true
    custom_data = {
      agent_version = var.agent_version
      architecture  = var.architecture
      base          = var.base
    }
  }
}
