# Everything that an image is made from and whose version is chosen here, and not by accident.
# The agent's own libraries are pinned beside this file, in requirements.txt.

bases = {
  # Debian's own account: see the page Cloud/AmazonEC2Image of Debian's wiki.
  "debian-13" = {
    owner      = "136693071363"
    name       = "debian-13-%s-*"
    username   = "admin"
    device     = "/dev/xvda"
    gpu        = false
    volume_gib = 8
  }
  # https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
  "ubuntu-24.04" = {
    owner      = "099720109477"
    name       = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-%s-server-*"
    username   = "ubuntu"
    device     = "/dev/sda1"
    gpu        = false
    volume_gib = 8
  }
  # NVIDIA's drivers, and nothing else of a framework; amd64 only.
  # https://docs.aws.amazon.com/dlami/latest/devguide/aws-deep-learning-base-gpu-ami-ubuntu-24-04.html
  "gpu" = {
    owner      = "898082745236"
    name       = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 24.04) *"
    username   = "ubuntu"
    device     = "/dev/sda1"
    gpu        = true
    # As large as its snapshot is: EC2 makes no smaller volume, and the snapshot grows with the drivers.
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_EbsBlockDevice.html
    volume_gib = null
  }
}

# Building needs no GPU: the drivers are in the base image.
instance_types = {
  "amd64" = "c7i.large"
  "arm64" = "c7g.large"
}
