# frozen_string_literal: true

require 'spec_helper'

describe 'login_duo_config', type: :type do
  let(:config) { { path: '/etc/duo/login_duo.conf', skey: 'a secret', prompts: 2, motd: true } }
  let(:resource) { Puppet::Type.type(:login_duo_config).new(config) }

  it 'writes the keys in one order' do
    expect(resource.text).to end_with("[duo]\nskey = a secret\nprompts = 2\nmotd = yes\n")
  end

  it 'gives no secret to the command line' do
    expect(resource.arguments.join(' ')).not_to include('a secret')
  end

  it 'takes a semicolon where no comment can begin, and nowhere else' do
    expect { Puppet::Type.type(:login_duo_config).new(config.merge(gecos_delim: ';')) }.not_to raise_error
    expect { Puppet::Type.type(:login_duo_config).new(config.merge(groups: ';duo')) }.to raise_error(Puppet::Error)
  end
end
